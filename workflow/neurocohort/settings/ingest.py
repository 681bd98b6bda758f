"""The keys of a cohort that its ingest depends on."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from neurocohort.settings.base import Group, Path, StructureName, Unique
from neurocohort.structures import MOST

Modality = Literal["T1w", "T2w", "PDw", "FLAIR", "FA", "MD"]
MaskPlace = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]*$(?!\n)")]


class IngestKeys(Group):
    """Keys of a cohort that its ingest depends on."""

    source: Literal["ixi", "oasis1", "bids", "caps", "table"] = Field(
        description="Where the scans come from: a public cohort, a BIDS folder, a CAPS folder (t1-linear images of Clinica), or "
        "a table of image paths. For the public ones `workflow/neurocohort/source_tables/` has a file each, with addresses, "
        "licence and citation."
    )
    path: Path | None = Field(
        None,
        title="a path",
        description="bids, caps and table only, and needed there: the BIDS or CAPS folder, or the table.",
    )
    participants_tsv: Path | None = Field(
        None,
        title="a path",
        description="caps only: a table with `participant_id`, `session_id` if it has a row per session, and variables, such as "
        "ClinicaDL's labels.tsv or the participants.tsv of the BIDS folder. Without it, all variables are n/a.",
    )
    pattern: Annotated[str, Field(min_length=1)] = Field(
        "*_T1w.nii*",
        title="a file name with `*`",
        description="bids only: which files of a session's `anat` folder are its T1-weighted images.",
    )
    run: Literal["first", "last", "all"] = Field(
        "first", description="bids and caps only: which of several T1-weighted images of one session to take."
    )
    modalities: Unique[Modality] = Field(
        ["T1w"],
        min_length=1,
        title="a list that begins with T1w, then any of T2w, PDw, FLAIR, FA and MD",
        description="The images of a session that become channels. The others are registered rigidly to the T1-weighted one; a "
        "session that lacks one is excluded. FA and MD are computed from its diffusion-weighted images (ixi and bids only; see "
        "[Diffusion](../docs/diffusion.md)). ixi has T1w, T2w, PDw, FA and MD (3.6 GB more for T2w, 3.8 for PDw, 4.0 for FA and "
        "MD together), oasis1 and caps only T1w.",
    )
    masks: dict[StructureName, MaskPlace] | None = Field(
        None,
        min_length=1,
        max_length=MOST,
        title="names, each with the end of a file's name, or a column",
        description="bids and table only: structures with a binary mask of their own, in addition to `labels` or without them. "
        "For bids the end of its name in the place of `T1w`, such as `{lesion: label-lesion_mask}`; for a table the column of "
        "its path, such as `{lesion: path_lesion}`. See [Label maps](#label-maps).",
    )


class Structure(Group):
    """A structure of a cohort's label maps, and its values there."""

    name: str
    values: list[int]


class IngestSettings(IngestKeys):
    """What a cohort's ingest depends on besides its files.

    Attributes:
        batch_size: Scans of a preprocessing job.
        structures: Those of its label maps, in the order of the labels that they get; None for CSF, GM and WM.
    """

    batch_size: int
    structures: list[Structure] | None = None
