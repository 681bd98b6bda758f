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

    ``best_epoch``, ``criterion`` and ``validation_loss`` are described in `training.Trained`.
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
    auxiliary: NotRequired[list[dict[str, Any]]]
