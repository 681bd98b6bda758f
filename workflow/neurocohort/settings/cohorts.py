"""The keys of a cohort and of the synthetic archives, and what ingest depends on."""

from typing import Annotated, Literal

from pydantic import Field

from neurocohort.settings.base import Address, Group, Path, Seed, Unique

Modality = Literal["T1w", "T2w", "PDw", "FLAIR"]


class IngestKeys(Group):
    """Keys of a cohort that its ingest depends on."""

    source: Literal["ixi", "oasis1", "bids", "table"] = Field(
        description="Where the scans come from: a public cohort, a BIDS folder, or a table of image paths. For the public ones "
        "`workflow/neurocohort/source_tables/` has a file each, with addresses, licence and citation."
    )
    path: Path | None = Field(
        None, title="a path", description="bids and table only, and needed there: the BIDS folder, or the table."
    )
    pattern: Annotated[str, Field(min_length=1)] = Field(
        "*_T1w.nii*",
        title="a file name with `*`",
        description="bids only: which files of a session's `anat` folder are its T1-weighted images.",
    )
    run: Literal["first", "last", "all"] = Field(
        "first", description="bids only: which of several T1-weighted images of one session to take."
    )
    modalities: Unique[Modality] = Field(
        ["T1w"],
        min_length=1,
        title="a list that begins with T1w, then any of T2w, PDw and FLAIR",
        description="The images of a session that become channels. The others are registered rigidly to the T1-weighted one; a "
        "session that lacks one is excluded. ixi has T1w, T2w and PDw (3.6 and 3.8 GB more), oasis1 only T1w.",
    )


class IngestSettings(IngestKeys):
    """What a cohort's ingest depends on besides its files. ``batch_size``: scans of a preprocessing job."""

    batch_size: int


class Cohort(IngestKeys):
    """One cohort, with the keys of all sources."""

    skull_stripped: bool = Field(
        False,
        description="bids and table only: the scans are skull-stripped already, and brain extraction is left out.",
    )
    mni_space: bool = Field(
        False,
        description="bids and table only: the scans are in MNI152 space already, and registration is left out. The checks of "
        "the match with the template stay. Everything more than 8 mm outside the template's brain (eyes and skull that the "
        "stripping left) is removed, and a scan that a registration would still move by more than 6 mm is excluded. Such "
        "scans have no volumes in mL, and the baseline of tissue volumes leaves their cohort out.",
    )
    split_file: Path | None = Field(None, title="a path", description="A split of your own; see [Split](#split).")
    base_url: Address = Field(
        "",
        description="ixi and oasis1 only: where the archives are, if not at the published addresses: a mirror, or a folder, "
        "relative to the working directory.",
    )
    table: Literal["oasis_cross-sectional.csv", "oasis_cross-sectional.xlsx"] = Field(
        "oasis_cross-sectional.csv",
        description="oasis1 only: which of the two published tables of participants to take.",
    )
    discs: Unique[Annotated[int, Field(ge=1, le=12)]] = Field(
        [*range(1, 13)],
        min_length=1,
        description="oasis1 only: the discs to take, some 35 participants and 1.4 GB each.",
    )
    accept_data_use_agreement: bool | None = Field(
        None,
        description="oasis1 only, and needed there: you have read the data use agreement at "
        "https://sites.wustl.edu/oasisbrains/ and accept it.",
    )


class SyntheticArchives(Group):
    """Synthetic archives of either source."""

    participants: int = Field(ge=8, le=400, description="Number of synthetic participants.")
    seed: Seed = Field(1, description="Seed of the synthetic cohort.")
    spacing_mm: float = Field(3.0, ge=0.5, le=6, description="Edge of a voxel of the synthetic scans, in mm.")


class SyntheticOasis1(SyntheticArchives):
    """Synthetic archives in the layout of OASIS-1."""

    discs: int = Field(
        2,
        ge=1,
        le=12,
        description="Number of discs over which they are distributed; one holds some thirty.",
    )


class SyntheticIxi(SyntheticArchives):
    """Synthetic archives in the layout of IXI."""

    modalities: Unique[Literal["T1w", "T2w", "PDw"]] = Field(
        ["T1w"],
        min_length=1,
        title="a list that begins with T1w, then any of T2w and PDw",
        description="Kinds of images to make, each in its own archive.",
    )


class Synthetic(Group):
    """Synthetic archives to make, each in the layout of the source it is named after."""

    ixi: SyntheticIxi | None = Field(
        None,
        description="Archives of a synthetic IXI, for a cohort whose base_url is resources/synthetic/ixi.",
    )
    oasis1: SyntheticOasis1 | None = Field(
        None,
        description="Archives of a synthetic OASIS-1, for a cohort whose base_url is resources/synthetic/oasis1.",
    )
