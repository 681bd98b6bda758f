"""The keys of `preprocessing` that the result of each scan depends on. Any edit here computes every scan again."""

from typing import Literal

from pydantic import Field

from neurocohort.settings.base import Group, Seed

NATIVE = "native"  # the value of ``space`` for images that are not registered to the template


class LearnedRegistration(Group):
    """How `registration: learned` works, and how its network is trained."""

    steps: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Painted pairs on which a network that corrects the optical flow is trained, one a step. 0: "
        "no network. It is off by default because a short training didn't improve the registration.",
    )
    learning_rate: float = Field(0.0015, gt=0, le=0.1, description="Largest learning rate of that training.")
    seed: Seed = Field(1, description="Seed of that training: first weights and painted pairs.")
    refinement_steps: int = Field(
        10,
        ge=0,
        le=500,
        description="Steps that refine each scan's deformation by the local correlation of the images; 0 for none.",
    )


class ScanKeys(Group):
    """Keys that the result of each scan depends on."""

    space: Literal["template", "native"] = Field(
        "template",
        description="`template`: brains, registered to the template. `native`: images of any part of the body, on a grid around "
        "each image's own foreground, without brain extraction, bias correction, registration and tissues; see "
        "[Native space](#native-space).",
    )
    window: list[float] | None = Field(
        None,
        min_length=2,
        max_length=2,
        title="two numbers, the lower one first",
        description="`space: native` only: the intensities of the file that become 0 and 1, such as `[-1000, 400]` Hounsfield "
        "units, instead of `intensity`.",
    )
    brain_extraction: Literal["deepbet", "synthstrip"] = Field(
        "deepbet",
        description="Program that finds the brain mask. deepbet includes its weights; SynthStrip's are downloaded (31 MB) and "
        "checked against their published sha256, and it takes more time and memory than deepbet.",
    )
    device: Literal["cpu", "cuda"] = Field(
        "cpu",
        description="Where the brain mask is found, and where `affine: torch` and `registration: learned` compute. `cuda` "
        "requests a GPU for each batch of scans, and reads the next scan in the meantime; its sums differ from the CPU's in the "
        "last bits, so some voxels at the edge of a mask may differ.",
    )
    affine: Literal["simpleitk", "torch"] = Field(
        "simpleitk",
        description="Program of the affine registration to the template. `torch` searches from all starts at once on `device`, "
        "with the mutual information of MONAI: meant for `device: cuda`, and slower on a CPU.",
    )
    registration: Literal["affine", "deformable", "learned"] = Field(
        "affine",
        description="Transform from the scan to the template. `deformable` adds a displacement after the affine; it needs "
        "`pip install picsl-greedy==1.4.0.3`, which contains code under the GPL-3 and is therefore not installed by default. "
        "`learned` adds one by optical flow, a network and a refinement, in seconds and with nothing to install; see "
        "[the page](../docs/learned_registration.md).",
    )
    learned: LearnedRegistration = Field(
        LearnedRegistration(), description="How `registration: learned` works, and how its network is trained."
    )
    intensity: Literal["percentile", "zscore", "white_matter_peak"] = Field(
        "percentile",
        description="One intensity scale for all scans, from the voxels of the brain mask: percentiles 0.5 and 99.5, or mean "
        "and four standard deviations on both sides, become 0 and 1; or the peak of white matter becomes 0.75. With `space: "
        "native`, from the foreground.",
    )
    tissue_maps: bool = Field(
        False,
        description="Also writes each scan's probability maps of CSF, grey and white matter on the study's grid, and packs them. "
        "The baselines on tissue maps, and their mean with the network, need them. They add three channels to the packs.",
    )
    modulated_gm: bool = Field(
        False,
        description="Also writes the grey matter map on the study's grid multiplied by the Jacobian determinant of the "
        "transform, so that its sum is the volume in the scan, and packs it as the channel GM_modulated. Needs "
        "`tissue_maps: true`; see [Modulated grey matter](#modulated-grey-matter).",
    )
    seed: Seed = Field(1, description="Seed of the registration's sampling.")


class ScanSettings(ScanKeys):
    """What the result of a scan depends on besides its files, the template and the code. ``skull_stripped`` and ``mni_space`` are
    keys of its cohort."""

    skull_stripped: bool = False
    mni_space: bool = False
