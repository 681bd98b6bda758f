"""The packs of a cohort: which scan is in which, and in which row.

``development`` is for training and validation. ``held-out`` is opened once, by the prediction, so that no file of a training
contains a held-out scan. With test folds there is a pack for each of them, and a training opens those of the other test folds.
"""

import pandas as pd

from neurocohort.dataset.runs import TEST_FOLD

DEVELOPMENT, HELD_OUT = "development", "held-out"
PACK_OF_PART = {"train": DEVELOPMENT, "validation": DEVELOPMENT, "held-out": HELD_OUT}


def all_packs(test_folds: int) -> tuple[str, ...]:
    """The names of a cohort's packs; ``test_folds``: their number, 0 for none."""
    if not test_folds:
        return DEVELOPMENT, HELD_OUT
    return tuple(TEST_FOLD.format(number) for number in range(1, test_folds + 1))


def development_packs(test_folds: int, test_fold: int) -> tuple[str, ...]:
    """The packs that a training opens: without test folds ``development``, else those of the test folds but ``test_fold``."""
    if not test_folds:
        return (DEVELOPMENT,)
    return tuple(name for name in all_packs(test_folds) if name != TEST_FOLD.format(test_fold))


def packed_scans(qc: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """Return where each usable scan is packed.

    Args:
        qc: The quality table.
        split: participant_id and part, and with test folds test_fold. Participants whose part is ``excluded`` aren't packed.

    Returns:
        scan_id, pack, and row in that pack, in the order of ``qc``.
    """
    usable = qc.loc[qc["status"] == "ok", ["scan_id", "participant_id"]]
    people = split.drop_duplicates("participant_id").set_index("participant_id")
    pack = people["part"].map(PACK_OF_PART)
    if "test_fold" in people:
        pack = people["test_fold"].map(lambda fold: TEST_FOLD.format(int(fold)), na_action="ignore").where(pack.notna())
    packed = usable.assign(pack=usable["participant_id"].map(pack))[["scan_id", "pack"]].dropna()
    return packed.assign(row=packed.groupby("pack").cumcount()).reset_index(drop=True)
