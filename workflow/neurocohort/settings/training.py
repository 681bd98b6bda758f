"""The keys of an experiment that one training depends on: `training`, `network` and `transfer`."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from neurocohort import architectures
from neurocohort.settings.base import Address, Group, Path, Seed, Unique

# The names of the table; a type checker can't read it.
if TYPE_CHECKING:
    NetworkName = str
else:
    NetworkName = Literal[tuple(architectures.ARCHITECTURES)]


class Augmentation(Group):
    """Limits of the random changes to training scans, each applied to half of them; 0 leaves a change out."""

    flip: bool = Field(True, description="Whether left and right are exchanged in half of the scans.")
    rotation_degrees: float = Field(
        6.0,
        ge=0,
        le=180,
        description="Largest rotation about each axis. This change and each one below is applied to half of the scans; 0 leaves "
        "it out.",
    )
    shift: float = Field(0.04, ge=0, le=0.5, description="Largest shift, as a fraction of the field of view.")
    scale: float = Field(0.04, ge=0, le=0.5, description="Largest change of size, as a fraction.")
    log_gamma: float = Field(0.15, ge=0, le=2, description="Largest logarithm of the contrast's exponent.")
    bias_field: float = Field(
        0.1,
        ge=0,
        le=2,
        description="Largest logarithm of a smooth field that the intensities are multiplied by.",
    )
    noise: float = Field(
        0.04,
        ge=0,
        le=1,
        description="Largest standard deviation of the noise, in standard deviations of the intensities.",
    )
    blur_voxels: float = Field(0.5, ge=0, le=5, description="Largest standard deviation of a Gaussian blur, in voxels.")
    elastic: float = Field(
        0.0,
        ge=0,
        le=0.1,
        description="Largest displacement by a smooth deformation, as a fraction of the field of view, of the scans that are "
        "rotated or shifted.",
    )
    low_resolution: float = Field(
        0.0,
        ge=0,
        le=10,
        description="Largest thickness of slices along one axis, in voxels, for scans of thicker slices.",
    )
    cutout: float = Field(
        0.0, ge=0, le=0.9, description="Largest side of a box that is set to 0, as a fraction of the field of view."
    )
    histogram: float = Field(
        0.0,
        ge=0,
        le=3,
        description="Largest logarithm of the slope of a random increasing map of the intensities, of six linear pieces: the "
        "contrast between tissues then differs in each scan.",
    )


class Synthetic(Group):
    """Training images that are painted from label maps, with their own limits for some changes of `augmentation`."""

    fraction: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Segmentation only: fraction of the training samples that are not the scan, but an image of random contrast "
        "painted from its label map. See [Any contrast](#any-contrast).",
    )
    tissue_classes: int = Field(
        6,
        ge=1,
        le=32,
        description="Classes into which the voxels of the brain without a label are divided by their intensity in the scan; each "
        "gets a random intensity, or shares that of a neighbouring class.",
    )
    log_gamma: float = Field(
        0.4, ge=0, le=2, description="`augmentation.log_gamma` of painted images; scans keep their own limit."
    )
    bias_field: float = Field(0.4, ge=0, le=2, description="`augmentation.bias_field` of painted images.")
    blur_voxels: float = Field(1.0, ge=0, le=5, description="`augmentation.blur_voxels` of painted images.")
    low_resolution: float = Field(
        4.0, ge=0, le=10, description="`augmentation.low_resolution` of painted images, in voxels."
    )


class NetworkKeys(Group):
    """Keys of a network besides its name."""

    channels: list[Annotated[int, Field(ge=1, le=4096)]] = Field(
        [],
        description="Channels of each level, from the input on; empty for the architecture's own. Where one number is expected, "
        f"it is that of the first level, and the others follow. {architectures.channels_taken()}.",
    )
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Fraction of the features that is dropped at random in training; "
        f"{architectures.with_option('has_dropout')} only.",
    )
    norm: Literal["batch", "group"] = Field(
        "batch",
        description="Normalisation of sfcn's features: `batch` as published, `group` for cohorts too small for batch statistics.",
    )
    soft_bins: bool = Field(
        True,
        description=f"Whether {architectures.with_option('has_soft_bins')} predict a number as the mean of soft bins, as "
        "published for sfcn, or as one value, for cohorts too small to fill the bins. The other networks predict one value.",
    )
    deep_supervision: bool = Field(
        False,
        description="Whether coarser levels of the decoder learn too, as in nnU-Net: each has an output with half the weight of "
        "the next finer one in the loss. Predictions use the finest output alone. "
        f"{architectures.with_option('has_deep_supervision')} only.",
    )
    patch_size: int | None = Field(
        None,
        ge=2,
        le=64,
        description="Side of the patches, in voxels, into which a transformer or attention_mil divides a volume; each side of "
        f"the grid must be a multiple of it. {architectures.with_option('patch_size')} only; absent for the published "
        f"{architectures.ARCHITECTURES['vit'].patch_size}.",
    )


class Network(NetworkKeys):
    """The network."""

    name: NetworkName = Field(
        description=f"Architecture: {architectures.of_task('regression')} for regression and classification, "
        f"{architectures.of_task('segmentation')} for segmentation. See [Networks](../docs/networks.md) and "
        "[Networks of segmentation](#networks-of-segmentation)."
    )


class TransferKeys(Group):
    """How a training that starts from other weights unfreezes its layers."""

    frozen_epochs: int = Field(
        0, ge=0, le=100000, description="Epochs at the beginning in which only the last layer learns."
    )
    thaw_epochs: int = Field(
        0,
        ge=0,
        le=100000,
        description="Epochs from one unfrozen stage to the next, from the last layer backwards; 0 unfreezes all at once.",
    )


class Transfer(TransferKeys):
    """Which weights a training starts from, if not from random ones."""

    weights: Path = Field(
        title="an experiment's name, a .safetensors file, or `sfcn_ukb`",
        description="Where the training starts from: the network of another experiment, or a file; tensors whose name and shape "
        "match are taken. See [Starting from another experiment](#starting-from-another-experiment). `sfcn_ukb` is an SFCN that "
        "was trained on UK Biobank: see [Starting from published weights](#starting-from-published-weights).",
    )
    weights_url: Address | None = Field(
        None, description="Where the file of `sfcn_ukb` is, if not at the published addresses; for no other `weights`."
    )


class TrainingKeys(Group):
    """Keys of `training` that each single training depends on."""

    epochs: int = Field(100, ge=1, le=100000, description="Passes over the training part.")
    batch_size: int = Field(8, ge=1, le=1024, description="Scans in a step.")
    learning_rate: float = Field(
        0.001,
        gt=0,
        le=1,
        description="Largest learning rate of the schedule. Write 0.00001 or 1.0e-5; YAML reads 1e-5 as a text.",
    )
    patience: int = Field(
        0,
        ge=0,
        le=100000,
        description="Epochs without a better criterion (see [Which weights are kept](#which-weights-are-kept)) after which "
        "training stops; 0 never stops early. With `keep: best` only.",
    )
    keep: Literal["best", "last", "averaged", "ema"] = Field(
        "best",
        description="The weights that are kept: of the epoch that is best on the validation part, of the last epoch, the mean of "
        "the last five epochs' weights, or an exponential moving average of the weights over all steps.",
    )
    ema_decay: float = Field(
        0.99,
        gt=0,
        lt=1,
        description="With `keep: ema`, the weight of the average so far in each step; 0.99 averages over about 100 steps.",
    )
    retrain: int = Field(
        1,
        ge=0,
        le=5,
        description="How often a network that learned nothing is trained again with another seed. If it still has not learned "
        "anything, it is left out of the average.",
    )
    balance_sites: bool = Field(
        False,
        description="Whether each site gives the same number of scans to an epoch, whatever its size; the scans of small sites "
        "are then drawn several times. Sites of two cohorts are two; scans whose site isn't known are one site of their cohort.",
    )
    adversarial_site: float = Field(
        0.0,
        ge=0,
        le=10,
        description="Regression and classification: weight of a reversed gradient by which the network learns features that do "
        "not reveal the site of a training scan; 0 for none. Sites as for `balance_sites`, of which there must be two. See "
        "[Adaptation](../docs/adaptation.md).",
    )
    optimizer: Literal["adamw", "sgd"] = Field(
        "adamw",
        description="AdamW, or stochastic gradient descent with momentum, which Peng et al. (2021) trained SFCN by.",
    )
    schedule: Literal["one_cycle", "cosine"] = Field("one_cycle", description="How the learning rate rises and falls.")
    warm_up: float = Field(0.15, ge=0, lt=1, description="Fraction of the steps over which the learning rate rises.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="Weight decay.")
    gradient_clip: float = Field(1.0, gt=0, le=1000, description="Largest norm of the gradient in a step.")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Precision of the arithmetic. `auto` takes bfloat16 on a GPU that has it, else float16 with a scaled loss, "
        "and float32 on the CPU.",
    )
    compile: bool = Field(
        False,
        description="Whether torch.compile translates the network first; it takes a minute, which long trainings gain back.",
    )
    memory: Literal["auto", "resident", "streamed"] = Field(
        "auto",
        description="Whether all scans are kept in the device's memory or are read from the disk when needed; `auto` takes the "
        "first if they fit. The result is the same.",
    )
    workers: int = Field(
        1,
        ge=0,
        le=64,
        description="Threads that prepare the next batches. The result is the same for any number.",
    )
    processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that divide each batch by torchrun, each on a GPU of its own unless `device` is `cpu`.",
    )
    patch: list[Annotated[int, Field(ge=8, le=512)]] = Field(
        [],
        max_length=3,
        description="Segmentation only: sides in voxels of the patches that it learns from, with half-overlapping windows at "
        "prediction; empty for the whole volume.",
    )
    foreground_fraction: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Segmentation only: fraction of the patches whose centre is a voxel of a structure, drawn evenly from the "
        "structures of the scan; nnU-Net takes 0.33. The others, and those of scans without a structure, are around random "
        "voxels of the brain.",
    )
    loss: Literal["dice_ce", "dice_focal"] = Field(
        "dice_ce",
        description="Segmentation only: soft Dice plus cross-entropy, or soft Dice plus focal loss, in which voxels that the "
        "network is sure of count little.",
    )
    coarse_epochs: int = Field(
        0,
        ge=0,
        le=100000,
        description="Epochs at the beginning on a grid of twice the voxel size, by means of 2 x 2 x 2 voxels, which take an "
        "eighth of the time. The epochs after them continue with the same weights on the study's grid. Not for segmentation.",
    )
    augmentation: Augmentation = Field(
        Augmentation(),
        description="Limits of the random changes to training scans, each applied to half of them; 0 leaves a change out.",
    )
    synthetic: Synthetic | None = Field(
        None, description="Segmentation only: images painted from label maps, so that a network learns any contrast."
    )
    mixup: float = Field(
        0.0,
        ge=0,
        le=10,
        description="Parameter alpha of mixup: each training scan is averaged with another one of its batch, and so are their "
        "targets, with a weight from a Beta(alpha, alpha) distribution. 0 for none. Not for segmentation.",
    )
    mirror_averaging: bool = Field(
        False,
        description="Whether a prediction is the mean of those for the scan and for its mirror image (left and right exchanged). "
        "It doubles the time of a prediction.",
    )
    threads: int = Field(
        1,
        ge=1,
        le=1024,
        description="CPU threads of a training job. Sums of floats depend on it, so another number gives slightly different "
        "weights.",
    )


class Training(TrainingKeys):
    """How the networks of an experiment are trained."""

    seeds: Unique[Seed] = Field([1], min_length=1, description="One network is trained for each seed.")
    cross_validation: bool = Field(
        False,
        description="Whether each of `split.folds` folds validates once: one network for each fold and seed, trained on the "
        "other folds. The held-out part stays out of all of them.",
    )
