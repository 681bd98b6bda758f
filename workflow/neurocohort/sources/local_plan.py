"""What ingest will do with a user's own cohort, before an image is opened: its scans, their variables, notes and exclusions.

`neurocohort check` says it, and the configuration is checked with it at the start of every Snakemake process, so the imports are
light.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from neurocohort.errors import InputError
from neurocohort.notes import Notes
from neurocohort.sources.local_files import MODALITY_COLUMNS
from neurocohort.sources.local_tables import CohortTables


class LocalScan(NamedTuple):
    """One scan and where its images lie, by modality. ``run`` is empty, or ``run-2`` among several of one session.

    ``labels``: its reference segmentation, where it has one.
    """

    participant_id: str
    session_id: str
    run: str
    images: dict[str, Path]
    labels: Path | None = None

    @property
    def scan_id(self) -> str:
        return "_".join(filter(None, (self.participant_id, self.session_id, self.run)))


@dataclass
class LocalPlan:
    """``entries``: the source's own data dictionary, by column. ``exclusions``: participant, scan and reason of each."""

    tables: CohortTables
    entries: dict[str, dict] = field(default_factory=dict)
    scans: list[LocalScan] = field(default_factory=list)
    exclusions: list[tuple[str, str | None, str]] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)

    def exclude(self, participant_id: str, scan_id: str | None, reason: str) -> None:
        """Leave out a scan; the reason becomes a row of exclusions.tsv. ``scan_id``: None for all scans of a participant."""
        self.exclusions.append((participant_id, scan_id, reason))

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
