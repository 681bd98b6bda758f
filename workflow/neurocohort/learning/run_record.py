"""What training leaves about itself: the rows of history.tsv and the content of run.json. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict


@dataclass(frozen=True)
class EpochRow:
    """A row of history.tsv. ``best`` is 1 for the epoch whose weights are kept, else 0."""

    epoch: int
    train_loss: float
    validation_loss: float
    criterion: float
    learning_rate: float
    best: int = 0


@dataclass(frozen=True)
class Attempt:
    """One training with one seed; its fields are those of `training.Trained` and `judgement.Judgement`."""

    seed: int
    best_epoch: int | None
    criterion: float | None
    spread: float | None
    learned: bool | None


@dataclass(frozen=True)
class Pretrained:
    """What only a pretraining records.

    Args:
        validation_loss: Of the kept weights; see `training.Trained`.
        baseline_loss: The validation loss without a network (`pretraining.baseline_loss`).
        training_scans: Number of scans that it learned from.
        training_participants: Number of their participants.
        validation_scans: Number of scans that the epoch was chosen on.
        validation_participants: Number of their participants.
    """

    validation_loss: float | None
    baseline_loss: float
    training_scans: int
    training_participants: int
    validation_scans: int
    validation_participants: int


@dataclass(frozen=True)
class UnlabelledScans:
    """Number of ``scans`` that a segmentation learned from without their label maps, and of their ``participants``."""

    scans: int
    participants: int


class Learning(TypedDict):
    """Whether the network learned anything: the fields of `judgement.Judgement`, and all `Attempt`s."""

    learned: bool | None
    reason: str
    spread: float | None
    least_spread: float
    edge: str
    attempts: list[dict[str, Any]]


class Run(TypedDict):
    """The content of run.json.

    ``best_epoch``, ``criterion`` and ``validation_loss`` are described in `training.Trained`; ``pretraining`` has the fields of
    `Pretrained`; ``adversarial_sites`` has the number of training scans of each site that an adversarial classifier learned;
    ``unlabelled`` has the fields of `UnlabelledScans`.
    """

    settings: dict[str, Any]
    task: Mapping[str, Any]
    intensity: dict[str, list[float]]
    parameters: int
    epochs_run: int
    best_epoch: int | None
    criterion: float | None
    validation_loss: float | None
    seed: int
    device: str
    torch: str
    precision: str
    memory: str
    training_seconds: float
    scans_per_second: float
    learning: Learning
    pretraining: NotRequired[dict[str, Any]]
    auxiliary: NotRequired[list[dict[str, Any]]]
    adversarial_sites: NotRequired[dict[str, int]]
    unlabelled: NotRequired[dict[str, int]]
