"""The keys of a cohort, of all sources."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from neurocohort.settings.base import Address, Path, StructureName, Unique
from neurocohort.settings.ingest import IngestKeys
from neurocohort.structures import MOST

LARGEST_VALUE = 2**31 - 1  # of a label map
LabelValue = Annotated[int, Field(ge=1, le=LARGEST_VALUE)]
LabelValues = Annotated[
    Annotated[LabelValue, Tag("a whole number")] | Annotated[Unique[LabelValue], Field(min_length=1), Tag("a list")],
    Discriminator(lambda values: "a list" if isinstance(values, list) else "a whole number"),
]


class Cohort(IngestKeys):
    """One cohort, with the keys of all sources."""

    @model_validator(mode="before")
    @classmethod
    def _in_mni_space(cls, values: Any) -> Any:
        """The images of a CAPS folder are in MNI space unless the user says otherwise."""
        if isinstance(values, dict) and values.get("source") == "caps":
            return {"mni_space": True} | values
        return values

    skull_stripped: bool = Field(
        False,
        description="bids, caps and table only: the scans are skull-stripped already, and brain extraction is left out.",
    )
    mni_space: bool = Field(
        False,
        description="bids, caps and table only: the scans are in MNI152 space already, and registration is left out. For caps "
        "the default is true. The checks of the match with the template stay. Everything more than 8 mm outside the template's "
        "brain (eyes and skull that the stripping left) is removed, and a scan that a registration would still move by more than "
        "6 mm is excluded. Such scans have no volumes in mL, and the baseline of tissue volumes leaves their cohort out.",
    )
    labels: dict[StructureName, LabelValues] | None = Field(
        None,
        min_length=1,
        max_length=MOST,
        title="names, each with its value in the label maps, or a list of values",
        description="bids and table only: the structures in the cohort's label maps, such as `{hippocampus_left: 17, "
        "hippocampus_right: 53, lesion: [1, 4]}`; several values become one structure, and others background. For bids the "
        "default is the table `dseg.tsv` (columns index and name), if there is one. Without both, label maps have 1 CSF, 2 GM "
        "and 3 WM. See [Label maps](#label-maps).",
    )
    split_file: Path | None = Field(
        None,
        title="a path",
        description="A split of your own: a table, or the folder of a ClinicaDL split; see [Split](#split).",
    )
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
