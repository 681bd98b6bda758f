"""The keys `quality`: limits beyond which a scan is excluded after preprocessing."""

from pydantic import Field

from neurocohort.settings.base import Group


class Quality(Group):
    """Limits beyond which a scan is excluded after preprocessing."""

    min_template_dice: float = Field(
        0.9,
        ge=0,
        le=1,
        description="Smallest Dice overlap of the scan's brain mask, after registration, with the template's. For scans in MNI "
        "space it limits the brain's size too: with 0.9, 0.82 to 1.22 times the template's.",
    )
    min_mutual_information: float = Field(
        0.5,
        ge=0,
        le=5,
        description="Smallest mutual information (Mattes, in nats) of the registered brain with the template's; a tilted brain "
        "can overlap well and still have little of it. Not for scans in MNI space, where it falls with atrophy. `qc.tsv` has "
        "the value of each scan.",
    )
    min_brain_ml: float = Field(
        700.0,
        ge=0,
        le=5000,
        description="Smallest volume of the brain mask, in ml. Not for scans in MNI space, which have the template's size.",
    )
    max_brain_ml: float = Field(
        2200.0, ge=0, le=5000, description="Largest volume of the brain mask, in ml. Not for scans in MNI space."
    )
    max_mask_border_cm2: float = Field(
        30.0,
        ge=0,
        le=1000,
        description="Largest area, in cm2, over which the brain mask may touch the border of the field of view or end at a "
        "plain background, which happens where defacing or empty slices cut the brain. In whole heads this is where 6 mm of "
        "background follow the mask; in skull-stripped scans, planes that cut the mask flat.",
    )
    max_missing_brain: float = Field(
        0.02,
        ge=0,
        le=1,
        description="Largest fraction of the brain that may be missing: the template's brain, without its outer 6 mm, where the "
        "registration puts it outside of the field of view or in empty voxels (skull-stripped scans: in planes between others "
        "that are completely empty).",
    )
    min_tissue_contrast: float = Field(
        0.05,
        ge=-1,
        le=1,
        description="Smallest difference of mean intensity of grey matter minus CSF, and of white minus grey matter, as a "
        "fraction of the brain's range of intensities (1st to 99th percentile). Below it the image isn't considered "
        "T1-weighted: T2, FLAIR and PD images have negative values, as has the T1 of an infant below one year.",
    )
    max_head_turn_degrees: float = Field(
        60.0,
        ge=0,
        le=180,
        description="Largest angle between head and template, in degrees, according to the scan's header: more is a wrong "
        "orientation in the header. A mirror image can't be detected. Not for scans in MNI space.",
    )
    max_head_stretch: float = Field(
        1.3,
        ge=1,
        le=10,
        description="Largest ratio of the head's scales along two directions, relative to the template: more is a wrong voxel "
        "spacing in the header. Not for scans in MNI space.",
    )
    max_foreground_cut: float = Field(
        0.02,
        ge=0,
        le=1,
        description="`space: native` only: largest fraction of the foreground that may lie outside of the grid of "
        "`preprocessing.shape` and `preprocessing.spacing_mm`. A scan with less of it outside gets a note. The other limits, "
        "except `max_outlier_z`, are for brains.",
    )
    max_outlier_z: float = Field(
        0.0,
        ge=0,
        le=100,
        description="Robust score (median and MAD) of a quality number from which on a scan is excluded, only on the side of "
        "a fault: low for a Dice, high for noise; volumes exclude none. The scores are relative to the scans of the same site, "
        "or of the cohort where a site has fewer than 20; a cohort of fewer than 10 has none. 0 excludes none. The scores are "
        "in `qc.tsv` and the report in any case.",
    )
