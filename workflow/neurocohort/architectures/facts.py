"""What the workflow has to know about a type of network. It imports no torch, since every Snakemake process imports it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

VALUE_TASKS, MAP_TASKS = ("regression", "classification", "pretraining"), ("segmentation", "translation")
MONAI = "monai.networks.nets"
OWN = "neurocohort.architectures.modules"  # networks that MONAI hasn't; bundles get a copy of their module
KeywordArguments = dict[str, Any]
Stages = list[list[Any]]


@dataclass(frozen=True)
class Shape:
    """The size and options of a network.

    Args:
        inputs: Input channels, one a modality.
        outputs: Output channels, or values.
        widths: Channels of each level, beginning at the input; empty for the published ones.
        dropout: Fraction of the features that is dropped at random in training.
        norm: ``batch`` or ``group``.
        deep_supervision: Whether it returns an output for each of several levels in training.
        patch_size: Side of a patch of a transformer, voxels; None for the published one.
    """

    inputs: int
    outputs: int
    widths: list[int]
    dropout: float = 0.0
    norm: str = "batch"
    deep_supervision: bool = False
    patch_size: int | None = None


@dataclass(frozen=True)
class Architecture:
    """A type of network.

    Args:
        tasks: The tasks for which it can be used.
        target: Module and name of its class or function, such as ``monai.networks.nets.DenseNet121``.
        arguments: Keyword arguments for a shape, as plain values.
        stages: The parts of a network that are frozen and thawed together, from input to head. Each parameter is in one of them.
        described: How the methods text calls it, with citations from report/references.bib.
        class_name: Name of its class, if ``target`` is a function.
        last_layer: Name of the module that maps the features of a scan to its values; empty for label maps.
        attention: Name of the module with the weights of the cubes that it averages, (N, 1, x, y, z); empty if it has none.
        feature_map: Its last features before they are averaged over the volume, (N, features, x, y, z), for a network and its
            input (N, C, X, Y, Z), so that a masked pretraining can reconstruct from them; None where that can't be.
        feature_halvings: Number of times these features halve the input; None for the number of levels minus 1.
        widths: The published channels of its levels; empty where they are known to its class alone.
        fewest: Smallest number of channels that can be set.
        most: Largest number of channels that can be set; 0 where they are fixed.
        equal_widths: Whether all channels must be the same number.
        halvings: Number of times it halves its input; None for the number of levels minus 1.
        pads: Whether it pads odd sides before it halves them. Others cut them, so that a short side vanishes.
        multiple_of: The channels of the first level must be a multiple of this.
        patch_size: Published side of its patches, voxels, of which the sides of the grid must be multiples; None if it has none.
        has_dropout: Whether it has the option ``dropout``.
        has_norm: Whether it has the option ``norm``.
        has_soft_bins: Whether it can predict a number as the mean of soft bins; the others return a single value.
        has_deep_supervision: Whether it has the option ``deep_supervision``.
        has_batch_norm: Whether it normalises by batch statistics, if ``norm`` (where it has the option) is ``batch``.
        has_instance_norm: Whether it normalises each channel of a scan over its voxels, of which there must be several.
        packages: Packages that MONAI needs for it besides its own dependencies.
        needs_numbers: Whether it reads numbers of tensors while it is built, which torch's device ``meta`` has not.
        contiguous_on_cpu: Whether the contiguous memory format is faster on a CPU than channels last.
    """

    tasks: tuple[str, ...]
    target: str
    arguments: Callable[[Shape], KeywordArguments]
    stages: Callable[[Any], Stages]
    described: str
    class_name: str = ""
    last_layer: str = ""
    attention: str = ""
    feature_map: Callable[[Any, Any], Any] | None = None
    feature_halvings: int | None = None
    widths: tuple[int, ...] = ()
    fewest: int = 0
    most: int = 0
    equal_widths: bool = False
    halvings: int | None = None
    pads: bool = False
    multiple_of: int = 1
    patch_size: int | None = None
    has_dropout: bool = False
    has_norm: bool = False
    has_soft_bins: bool = False
    has_deep_supervision: bool = False
    has_batch_norm: bool = False
    has_instance_norm: bool = False
    packages: tuple[str, ...] = ()
    needs_numbers: bool = False
    contiguous_on_cpu: bool = False

    @property
    def type_name(self) -> str:
        """The name of its class."""
        return self.class_name or self.target.rpartition(".")[2]

    @property
    def own_module(self) -> str:
        """The module of a network of this package; empty for MONAI's."""
        module = self.target.rpartition(".")[0]
        return "" if module == MONAI else module

    def shape(self, channels: list[int] | None, inputs: int, outputs: int, **options: Any) -> Shape:
        """The shape with ``channels``, or with the published ones. ``options``: of `Shape`."""
        return Shape(inputs, outputs, list(channels or self.widths), **options)

    @property
    def channels_taken(self) -> str:
        """What ``channels`` of a configuration may have, such as ``2 to 10 numbers``."""
        if not self.most:
            return "none"
        count = "one" if self.most == 1 else f"{self.fewest} to {self.most}"
        equal = "equal " if self.equal_widths else ""
        kind = f"multiple of {self.multiple_of}" if self.multiple_of > 1 else "number"
        plural = kind if self.most == 1 else kind.replace("number", "numbers").replace("multiple", "multiples")
        return f"{count} {equal}{plural}"

    def batch_statistics(self, norm: str) -> bool:
        """Whether a network with this ``norm`` normalises by batch statistics."""
        return self.has_batch_norm and (not self.has_norm or norm == "batch")

    def levels(self, channels: list[int]) -> int:
        """How often a network with these channels (empty: the published ones) halves its input."""
        return self.halvings if self.halvings is not None else len(channels or self.widths) - 1


def volumes(shape: Shape) -> KeywordArguments:
    """The arguments that most of MONAI's networks have."""
    return {"spatial_dims": 3, "in_channels": shape.inputs, "out_channels": shape.outputs}


def supervised_heads(shape: Shape) -> int:
    """Number of outputs below the finest one that are supervised, at least 1: nnU-Net leaves out the coarsest of its decoder."""
    return max(1, len(shape.widths) - 3)
