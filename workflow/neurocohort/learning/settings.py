"""What a training depends on besides its data: plain values, as the configuration has them and as run.json keeps them."""

import json
from dataclasses import asdict, dataclass, field, fields

from neurocohort.errors import InputError


@dataclass(frozen=True)
class Augmentation:
    """Limits of what is drawn for a sample. Each of movement, gamma, bias field, noise and blur befalls half of the samples.

    ``rotation_degrees``; ``shift`` and ``scale`` as shares of the field of view and of size; ``log_gamma``; ``bias_field``:
    log of the largest multiplicative deviation; ``noise``: in deviations of the training part's intensity; ``blur_voxels``:
    standard deviation of a Gaussian.
    """

    flip: bool = True
    rotation_degrees: float = 6.0
    shift: float = 0.04
    scale: float = 0.04
    log_gamma: float = 0.15
    bias_field: float = 0.1
    noise: float = 0.04
    blur_voxels: float = 0.5


@dataclass(frozen=True)
class TrainingSettings:
    """One training, whole.

    ``task``: regression, classification or segmentation; ``classes``: of a classification. ``modalities``: the input's
    channels. ``network`` to ``soft_bins``: see build_network and the tasks. ``schedule``: one_cycle or cosine, with a warm-up
    over the share ``warm_up`` of all steps. ``patience``: epochs without a better criterion after which training stops; 0
    never stops early. ``keep``: the weights that are kept, best, last or averaged (see `learning.loop`). ``judged``: whether
    the network is tested for having learned anything; ``retrain``: how many other seeds are tried while it hasn't.
    ``precision``: auto, float32, bfloat16 or float16. ``memory``: auto, resident (the part lies whole in the device's memory)
    or streamed (read from the map by ``workers`` threads). ``patch``: sides in voxels of what a segmentation learns from,
    empty for the whole volume. ``weights``: a safetensors file to start from, empty for none; ``frozen_epochs`` in which the
    head alone learns, ``thaw_epochs`` from one thawed stage to the next. ``fold``: the one that validates, 0 for the split's
    own validation part. ``processes``: over which a batch is divided, a GPU each. ``threads``: CPU threads of a process.
    """

    task: str
    network: str
    modalities: list[str] = field(default_factory=lambda: ["T1w"])
    classes: int = 2
    channels: list[int] | None = None
    dropout: float = 0.0
    norm: str = "batch"
    soft_bins: bool = True
    epochs: int = 100
    batch_size: int = 8
    learning_rate: float = 0.001
    schedule: str = "one_cycle"
    warm_up: float = 0.15
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    patience: int = 0
    keep: str = "best"
    judged: bool = True
    retrain: int = 0
    precision: str = "auto"
    compile: bool = False
    memory: str = "auto"
    workers: int = 1
    threads: int = 1
    processes: int = 1
    patch: list[int] = field(default_factory=list)
    augmentation: Augmentation = field(default_factory=Augmentation)
    weights: str = ""
    frozen_epochs: int = 0
    thaw_epochs: int = 0
    fold: int = 0
    seed: int = 1

    def as_dict(self) -> dict:
        """Plain values, for run.json and for the key of a checkpoint."""
        return asdict(self)


def read_settings(values: dict | str) -> TrainingSettings:
    """The settings in a dict or in its JSON text. Raises InputError for a key that there isn't."""
    given = json.loads(values) if isinstance(values, str) else dict(values)
    unknown = sorted(set(given) - {one.name for one in fields(TrainingSettings)})
    if unknown:
        raise InputError(f"the training's settings have unknown key(s): {', '.join(unknown)}.")
    augmentation = given.pop("augmentation", {})
    return TrainingSettings(**given, augmentation=Augmentation(**augmentation))
