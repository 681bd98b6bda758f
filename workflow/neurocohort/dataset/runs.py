"""The names of runs, which are folders: ``seed-3``, ``test-1_fold-2_seed-3``, ``sweep/draw-01/seed-3``. A run trains one
network."""

import re
from dataclasses import dataclass, replace

from neurocohort.errors import InputError

TEST_FOLD = "test-{}"  # of the names of runs, and of what belongs to one test fold
MEMBER_PATTERN = r"(test-\d+_)?(fold-\d+_)?seed-\d+"
_RUN = re.compile(r"(?:(?P<draw>.+)/)?(?:test-(?P<test_fold>\d+)_)?(?:fold-(?P<fold>\d+)_)?seed-(?P<seed>\d+)")


@dataclass(frozen=True)
class RunName:
    """What distinguishes a run from the others of its experiment.

    Attributes:
        seed: Seed of the training.
        fold: The fold that validates; 0 without cross-validation.
        test_fold: The test fold that is held out; 0 without test folds.
        draw: The folder of its draw of a sweep, such as ``sweep/draw-01``; empty for a network of the experiment itself.
    """

    seed: int
    fold: int = 0
    test_fold: int = 0
    draw: str = ""

    def __str__(self) -> str:
        parts = [self.left_out] if self.test_fold else []
        parts += [f"fold-{self.fold}"] if self.fold else []
        name = "_".join([*parts, f"seed-{self.seed}"])
        return f"{self.draw}/{name}" if self.draw else name

    @property
    def left_out(self) -> str:
        """The name of its test fold, such as ``test-1``; empty without test folds."""
        return TEST_FOLD.format(self.test_fold) if self.test_fold else ""

    @property
    def without_test_fold(self) -> str:
        """The name that is the same for the runs that differ in their test fold only."""
        return str(replace(self, test_fold=0))


def test_fold_of(folder: str) -> int:
    """The test fold of a ``folder`` such as ``test-2``; 0 for any other name."""
    found = re.fullmatch(TEST_FOLD.format(r"(\d+)"), folder)
    return int(found[1]) if found else 0


def run_name(text: str) -> RunName:
    """Read the name of a run. Raises InputError for a text that is none."""
    found = _RUN.fullmatch(text)
    if not found:
        raise InputError(f"{text!r} is no name of a run; expected one such as seed-1 or test-2_fold-1_seed-1.")
    numbers = {name: int(found[name] or 0) for name in ("seed", "fold", "test_fold")}
    return RunName(**numbers, draw=found["draw"] or "")
