"""Which of a cohort's two packs a scan lies in, and in which row.

``development`` is trained and validated on, ``held-out`` is opened once, by the prediction; so a training has no file at all
with a held-out scan in it.
"""

import pandas as pd

DEVELOPMENT, HELD_OUT = "development", "held-out"
PACKS = (DEVELOPMENT, HELD_OUT)
PACK_OF_PART = {"train": DEVELOPMENT, "validation": DEVELOPMENT, "held-out": HELD_OUT}


def packed_scans(qc: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """Where each usable scan is packed: scan_id, pack and row (in that pack), in the order of ``qc``.

    ``split``: participant_id and part. A participant whose part is ``excluded`` is packed nowhere.
    """
    usable = qc.loc[qc["status"] == "ok", ["scan_id", "participant_id"]]
    part = usable["participant_id"].map(split.drop_duplicates("participant_id").set_index("participant_id")["part"])
    packed = usable.assign(pack=part.map(PACK_OF_PART))[["scan_id", "pack"]].dropna()
    return packed.assign(row=packed.groupby("pack").cumcount()).reset_index(drop=True)
