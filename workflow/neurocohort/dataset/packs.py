"""The two packs of a cohort: which scan is in which, and in which row.

``development`` is for training and validation. ``held-out`` is opened once, by the prediction, so that no file of a training
contains a held-out scan.
"""

import pandas as pd

DEVELOPMENT, HELD_OUT = "development", "held-out"
PACKS = (DEVELOPMENT, HELD_OUT)
PACK_OF_PART = {"train": DEVELOPMENT, "validation": DEVELOPMENT, "held-out": HELD_OUT}


def packed_scans(qc: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """Return where each usable scan is packed.

    Args:
        qc: The quality table.
        split: participant_id and part. Participants whose part is ``excluded`` aren't packed.

    Returns:
        scan_id, pack, and row in that pack, in the order of ``qc``.
    """
    usable = qc.loc[qc["status"] == "ok", ["scan_id", "participant_id"]]
    part = usable["participant_id"].map(split.drop_duplicates("participant_id").set_index("participant_id")["part"])
    packed = usable.assign(pack=part.map(PACK_OF_PART))[["scan_id", "pack"]].dropna()
    return packed.assign(row=packed.groupby("pack").cumcount()).reset_index(drop=True)
