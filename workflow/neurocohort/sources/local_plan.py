"""The plan of an ingest of a user's own cohort, before an image is opened: scans, variables, notes and exclusions.

`neurocohort check` shows it. This module imports little, because the configuration is checked with it at the start of every
Snakemake process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from neurocohort.errors import InputError
from neurocohort.notes import Notes
from neurocohort.sources.columns import MODALITY_COLUMNS, DiffusionFiles, Exclusion
from neurocohort.sources.data_dictionary import Entries
from neurocohort.sources.local_tables import CohortTables


class LocalScan(NamedTuple):
    """One scan and its files.

    ``run``: empty, or for example ``run-2`` if the session has several scans. ``images``: by modality. ``labels``: its reference
    segmentation, if it has one. ``masks``: by structure, the image of its mask. ``diffusion``: its diffusion-weighted images, if
    FA or MD are wanted.
    """

    participant_id: str
    session_id: str
    run: str
    images: dict[str, Path]
    labels: Path | None = None
    masks: Mapping[str, Path] = MappingProxyType({})
    diffusion: DiffusionFiles | None = None

    @property
    def segmented(self) -> bool:
        """Whether it has a reference segmentation."""
        return self.labels is not None or bool(self.masks)

    @property
    def scan_id(self) -> str:
        return "_".join(filter(None, (self.participant_id, self.session_id, self.run)))


@dataclass
class LocalPlan:
    """What ingest will do with a cohort.

    ``entries``: the source's own data dictionary. ``structures``: those in the label maps, with values; empty for the tissues.
    ``masks``: structures with a mask of their own, and where it is (`local_masks`).
    """

    tables: CohortTables = field(default_factory=lambda: CohortTables({}, {}, {}))
    entries: Entries = field(default_factory=dict)
    scans: list[LocalScan] = field(default_factory=list)
    exclusions: list[Exclusion] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)
    structures: dict[str, list[int]] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)

    def exclude(self, participant_id: str, scan_id: str | None, reason: str) -> None:
        """Leave out a scan, or all scans of a participant if ``scan_id`` is None."""
        self.exclusions.append(Exclusion(participant_id, scan_id, reason))

    @property
    def keys(self) -> dict[str, tuple[str, str]]:
        """Participant and session by scan."""
        return {scan.scan_id: (scan.participant_id, scan.session_id) for scan in self.scans}


def check_modalities(modalities: Sequence[str]) -> None:
    """Raise InputError unless ``modalities`` are known ones, each once, with T1w first."""
    if (
        not modalities
        or modalities[0] != "T1w"
        or len(set(modalities)) < len(modalities)
        or set(modalities) - {*MODALITY_COLUMNS}
    ):
        raise InputError(
            f"The modalities are {', '.join(modalities) or 'none'}; expected T1w first, then any of "
            f"{', '.join([*MODALITY_COLUMNS][1:])}, each once."
        )
