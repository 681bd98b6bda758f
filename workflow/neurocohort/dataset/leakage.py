"""The guard against leakage: no participant and no image content on two sides of a split. It can't be switched off."""

import pandas as pd

from neurocohort.errors import InputError

COLUMNS = ("cohort", "scan_id", "participant_id", "part", "voxels_sha256")
NAMED = 10  # as many names as a message has room for


def check_no_leakage(samples: pd.DataFrame) -> None:
    """Raise InputError, with names, where something stands on two sides of the split, that is in two parts.

    ``samples``: a row a scan with cohort, scan_id, participant_id, part, voxels_sha256. A cross-validation whose sides are
    folds gives its sides as ``part``. Checked are a cohort's participants, participants of the same participant_id in two
    cohorts (who may be one person), and images of the same voxels under two names, within and between cohorts, external
    ones too.
    """
    missing = [name for name in COLUMNS if name not in samples]
    if missing:
        raise InputError(
            f"the samples lack the column(s) {', '.join(missing)}, without which leakage can't be ruled out; an earlier version "
            "made them. Delete the cohort's `data/<cohort>/scans.tsv` and run again."
        )
    nameless = samples.loc[samples["voxels_sha256"].isna() | samples["participant_id"].isna(), "scan_id"]
    if len(nameless):
        raise InputError(
            f"{len(nameless)} scan(s) have no participant_id or no voxels_sha256, without which leakage can't be ruled out: "
            f"{_few(sorted(map(str, nameless)))}. Delete the cohort's `data/<cohort>/scans.tsv` and run again."
        )
    _check_participants(samples)
    _check_namesakes(samples)
    _check_images(samples)


def _on_two_sides(samples: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The rows whose ``keys`` stand on more than one side, in the order of the keys."""
    if not samples.duplicated(keys).any():  # the usual case, and quick
        return samples.head(0)
    crossing = samples.groupby(keys, sort=False)["part"].transform("nunique") > 1
    return samples[crossing].sort_values([*keys, "cohort", "scan_id"])


def _check_participants(samples: pd.DataFrame) -> None:
    found = _on_two_sides(samples, ["cohort", "participant_id"])
    names = [
        f"{who} of {cohort} ({_sides(rows)})" for (cohort, who), rows in found.groupby(["cohort", "participant_id"])
    ]
    if names:
        raise InputError(
            f"{len(names)} participant(s) stand on more than one side of the split: {_few(names)}. A person's scans must share "
            "one part; correct the split, or, if they are different people, give them different participant_ids."
        )


def _check_namesakes(samples: pd.DataFrame) -> None:
    people = samples.drop_duplicates(["cohort", "participant_id"])
    found = _on_two_sides(people, ["participant_id"])
    names = [
        f"{who} ({', '.join(f'{row.cohort}: {row.part}' for row in rows.itertuples())})"
        for who, rows in found.groupby("participant_id")
    ]
    if names:
        cohorts = " and ".join(sorted(found["cohort"].unique()))
        raise InputError(
            f"{len(names)} participant(s) of {cohorts} have the same participant_id and stand on different sides of the split: "
            f"{_few(names)}. If they are different people, rename them in one of the cohorts, so that no name is in both; if "
            "they are the same, use one of the cohorts, or give the cohorts a `split_file` each in which they have one part."
        )


def _check_images(samples: pd.DataFrame) -> None:
    found = _on_two_sides(samples, ["voxels_sha256"])
    names = [
        " = ".join(f"{row.scan_id} ({row.cohort}: {row.part})" for row in rows.itertuples())
        for _, rows in found.groupby("voxels_sha256")
    ]
    if names:
        raise InputError(
            f"{len(names)} image(s) stand on more than one side of the split under different names, voxel for voxel the same: "
            f"{_few(sorted(names))}. If they are one person's, give the scans one participant_id; otherwise find out whose the "
            "image is, and leave the others out: by the experiment's `filter` (scan_id not in [...]), or at their source."
        )


def _sides(rows: pd.DataFrame) -> str:
    return ", ".join(f"{row.scan_id}: {row.part}" for row in rows.itertuples())


def _few(names: list[str]) -> str:
    return "; ".join(names[:NAMED]) + (f"; and {len(names) - NAMED} more" if len(names) > NAMED else "")
