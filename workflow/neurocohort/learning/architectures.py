"""The networks that an experiment can name, with their options and keyword arguments.

The table is used by the check of the configuration, the training, the plan and the MONAI bundle. This module imports no torch,
since every Snakemake process imports it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from neurocohort.settings.nnunet_rules import residual_blocks

VALUE_TASKS, MAP_TASKS = ("regression", "classification", "pretraining"), ("segmentation",)
NETS = "monai.networks.nets"  # the module of all networks but the two that are our own
SFCN, RESIDUAL_UNET = "SFCN", "ResidualEncoderUNet"
KeywordArguments = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """The size and options of a network.

    Args:
        inputs: Input channels, one a modality.
        outputs: Output channels, or values.
        widths: Channels of each level, beginning at the input.
        dropout: Fraction of the features that is dropped at random in training.
        norm: ``batch`` or ``group``.
        deep_supervision: Whether it returns an output for each of several levels in training.
    """

    inputs: int
    outputs: int
    widths: list[int]
    dropout: float = 0.0
    norm: str = "batch"
    deep_supervision: bool = False


@dataclass(frozen=True)
class Architecture:
    """A type of network.

    Args:
        tasks: The tasks for which it can be used.
        target: Name of its class or function in NETS, or SFCN or RESIDUAL_UNET.
        arguments: Keyword arguments for a shape, as plain values.
        last_layer: Name of the module that maps the features of a scan to its values; empty for label maps.
        widths: The published channels of its levels; empty where its channels can't be set.
        fewest: Smallest number of levels that can be set.
        most: Largest number of levels that can be set.
        halvings: Number of times it halves its input; None for the number of levels minus 1.
        feature_halvings: Number of times its last features halve the input, for a pretraining (`pretraining.feature_map`); None
            for the number of levels minus 1, 0 where it can't be pretrained.
        multiple_of: The channels of the first level must be a multiple of this.
        has_dropout: Whether it has the option ``dropout``.
        has_norm: Whether it has the option ``norm``.
        has_deep_supervision: Whether it has the option ``deep_supervision``.
        has_instance_norm: Whether it normalises each channel of a scan over its voxels, of which there must be several.
        packages: Packages that MONAI needs for it besides its own dependencies.
        needs_numbers: Whether it reads numbers of tensors while it is built, which torch's device ``meta`` has not.
        contiguous_on_cpu: Whether the contiguous memory format is faster on a CPU than channels last.
    """

    tasks: tuple[str, ...]
    target: str
    arguments: Callable[[Shape], KeywordArguments]
    last_layer: str = ""
    widths: tuple[int, ...] = ()
    fewest: int = 0
    most: int = 0
    halvings: int | None = None
    feature_halvings: int | None = 0
    multiple_of: int = 1
    has_dropout: bool = False
    has_norm: bool = False
    has_deep_supervision: bool = False
    has_instance_norm: bool = False
    packages: tuple[str, ...] = ()
    needs_numbers: bool = False
    contiguous_on_cpu: bool = False

    def shape(self, channels: list[int] | None, inputs: int, outputs: int, **options: Any) -> Shape:
        """The shape with ``channels``, or with the published ones. ``options``: of `Shape`."""
        return Shape(inputs, outputs, list(channels or self.widths), **options)


def _volumes(shape: Shape) -> KeywordArguments:
    return {"spatial_dims": 3, "in_channels": shape.inputs, "out_channels": shape.outputs}


def _sfcn(shape: Shape) -> KeywordArguments:
    given = {"inputs": shape.inputs, "channels": shape.widths, "outputs": shape.outputs}
    return given | {"dropout": shape.dropout, "norm": shape.norm}


def _densenet121(shape: Shape) -> KeywordArguments:
    return _volumes(shape) | {"dropout_prob": shape.dropout}


def _resnet18(shape: Shape) -> KeywordArguments:
    return {"spatial_dims": 3, "n_input_channels": shape.inputs, "num_classes": shape.outputs}


def _unet(shape: Shape) -> KeywordArguments:
    strides = [2] * (len(shape.widths) - 1)
    return _volumes(shape) | {"channels": shape.widths, "strides": strides, "num_res_units": 1, "norm": "instance"}


def _dynunet(shape: Shape) -> KeywordArguments:
    strides = [2] * (len(shape.widths) - 1)
    kernels = {"kernel_size": [3] * len(shape.widths), "strides": [1, *strides], "upsample_kernel_size": strides}
    supervised = {"deep_supervision": True, "deep_supr_num": _heads(shape)} if shape.deep_supervision else {}
    return _volumes(shape) | kernels | {"filters": shape.widths} | supervised


def _heads(shape: Shape) -> int:
    """Number of outputs below the finest one that are supervised, at least 1: nnU-Net leaves out the coarsest of its decoder."""
    return max(1, len(shape.widths) - 3)


def _resencunet(shape: Shape) -> KeywordArguments:
    supervised = {"heads": _heads(shape)} if shape.deep_supervision else {}
    sizes = {"in_channels": shape.inputs, "out_channels": shape.outputs, "filters": shape.widths}
    return sizes | {"blocks": residual_blocks(len(shape.widths))} | supervised


def _swinunetr(shape: Shape) -> KeywordArguments:
    return _volumes(shape) | {"feature_size": shape.widths[0]}


def _segresnet(shape: Shape) -> KeywordArguments:
    return _volumes(shape) | {"init_filters": shape.widths[0]}


ARCHITECTURES = {
    "sfcn": Architecture(
        VALUE_TASKS,
        SFCN,
        _sfcn,
        last_layer="classifier",
        widths=(32, 64, 128, 256, 256, 64),  # Peng et al. 2021
        fewest=2,
        most=10,
        feature_halvings=None,
        has_dropout=True,
        has_norm=True,
    ),
    "densenet121": Architecture(
        VALUE_TASKS,
        "DenseNet121",
        _densenet121,
        last_layer="class_layers.out",
        halvings=5,
        feature_halvings=5,
        has_dropout=True,
        # On one CPU core channels last multiplies the time of a step by 0.5 to 0.9, but by 1.08 with DenseNet's narrow layers.
        contiguous_on_cpu=True,
    ),
    "resnet18": Architecture(VALUE_TASKS, "resnet18", _resnet18, last_layer="fc", halvings=0, feature_halvings=4),
    "unet": Architecture(MAP_TASKS, "UNet", _unet, widths=(16, 32, 64, 128), fewest=2, most=10, has_instance_norm=True),
    "dynunet": Architecture(
        MAP_TASKS,
        "DynUNet",
        _dynunet,
        widths=(32, 64, 128, 256),
        fewest=3,
        most=10,
        has_deep_supervision=True,
        has_instance_norm=True,
    ),
    "resencunet": Architecture(
        MAP_TASKS,
        RESIDUAL_UNET,
        _resencunet,
        widths=(32, 64, 128, 256, 320, 320),  # nnU-Net's, from which it halves a patch five times
        fewest=3,
        most=10,
        has_deep_supervision=True,
        has_instance_norm=True,
    ),
    "swinunetr": Architecture(
        MAP_TASKS,
        "SwinUNETR",
        _swinunetr,
        widths=(48,),  # Hatamizadeh et al. 2022
        fewest=1,
        most=1,
        halvings=5,
        multiple_of=12,  # of its attention heads: 3, 6, 12 and 24, for 1, 2, 4 and 8 times the channels
        has_instance_norm=True,
        packages=("einops",),
        needs_numbers=True,
    ),
    "segresnet": Architecture(
        MAP_TASKS,
        "SegResNet",
        _segresnet,
        widths=(16,),
        fewest=1,
        most=1,
        halvings=3,
        multiple_of=8,  # its group norm has eight groups
    ),
}
