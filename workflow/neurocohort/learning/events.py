"""The events of a training for TensorBoard: losses, criterion and learning rate of each epoch."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from neurocohort.learning.run_record import EpochRow

SCALARS = {
    "train_loss": "loss/train",
    "validation_loss": "loss/validation",
    "criterion": "criterion",
    "learning_rate": "learning_rate",
}


@contextlib.contextmanager
def epoch_events(folder: Path | None, first_epoch: int) -> Iterator[Callable[[EpochRow], None]]:
    """Yield a function that writes a row of the history to ``folder``; without ``folder`` it does nothing.

    Events that an interrupted run wrote for ``first_epoch`` and later ones are discarded.
    """
    if folder is None:
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter  # slow to import: only where it is used

    with SummaryWriter(str(folder), purge_step=first_epoch) as writer:

        def write(row: EpochRow) -> None:
            for name, tag in SCALARS.items():
                writer.add_scalar(tag, getattr(row, name), row.epoch)
            writer.flush()

        yield write
