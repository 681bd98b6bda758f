"""What TensorBoard shows of a training: a point an epoch for each loss, the criterion and the learning rate."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

SCALARS = {
    "train_loss": "loss/train",
    "validation_loss": "loss/validation",
    "criterion": "criterion",
    "learning_rate": "learning_rate",
}


@contextlib.contextmanager
def epoch_events(folder: Path | None, first_epoch: int) -> Iterator[Callable[[dict], None]]:
    """Yield a function that writes a row of the history to ``folder``; it does nothing where ``folder`` is None.

    ``first_epoch``: of those that come; what an interrupted run wrote of it and of later ones is told to be void.
    """
    if folder is None:
        yield lambda entry: None
        return
    from torch.utils.tensorboard import SummaryWriter  # slow to import: only for who looks at it

    with SummaryWriter(str(folder), purge_step=first_epoch) as writer:

        def note(entry: dict) -> None:
            for name, tag in SCALARS.items():
                writer.add_scalar(tag, entry[name], entry["epoch"])
            writer.flush()

        yield note
