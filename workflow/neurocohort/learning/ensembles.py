"""The mean over the members of an experiment (its seeds and folds), and a table of the single members.

With test folds, a participant's held-out rows are averaged over the members of their test fold, validation rows within each test
fold, so that what is fitted on them is fitted without that test fold, and external rows over all members. With cross-validation a
member validates on its own fold only: validation rows are averaged over the members that were not trained on them, the others
over all. Only used networks (`network_table`) are averaged; a fold without any has no validation rows in the mean.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from neurocohort.errors import InputError
from neurocohort.learning.inference import LEVELS, read_probabilities
from neurocohort.learning.prediction_tables import ID_COLUMNS, TEST_FOLD, id_columns
from neurocohort.progress import in_turn

KEY = ["cohort", "scan_id"]
Scan = tuple[str, str]  # cohort and scan_id
VALIDATION = "validation"
DECIMALS = 6
MEMBER_COLUMNS = ["member", "scan_id", "cohort", "part"]
MEMBER_VALUES = ["tissue", "target", "prediction", "dice", "volume_ml", "reference_ml"]


def average_values(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The table of the ensemble from those of its members (`value_rows`), sorted by cohort and scan, and by test fold.

    ``prediction`` is the mean; for more than two classes the class with the largest mean probability. ``spread`` is the standard
    deviation over the members that predicted the scan, 0 for one; for more than two classes that of the predicted class's
    probability. Raises InputError where the members' rows don't agree.
    """
    _check_agreement_by_test_fold(tables)
    stacked = pd.concat(tables.values(), ignore_index=True)
    key = [*KEY, TEST_FOLD] if TEST_FOLD in stacked else KEY
    folds = {TEST_FOLD: stacked[TEST_FOLD].astype("Int64").fillna(0)} if TEST_FOLD in stacked else {}
    stacked = stacked.assign(**folds)  # external rows have none: 0 is the key of the mean over all
    averaged = _one_row_each(stacked, key)
    classes = [name for name in stacked if name.startswith("probability_")]
    by_scan = stacked.groupby(key)[classes or ["prediction"]]
    wanted = pd.MultiIndex.from_frame(averaged[key])
    mean, spread = by_scan.mean().loc[wanted].to_numpy(), by_scan.std(ddof=0).loc[wanted].to_numpy()
    chosen = mean.argmax(axis=1)
    if classes:
        averaged["prediction"] = chosen
        averaged[classes] = mean.round(DECIMALS)
    else:
        averaged["prediction"] = mean[:, 0].round(DECIMALS)
    averaged["spread"] = spread[np.arange(len(spread)), chosen].round(DECIMALS)
    return averaged.assign(**{name: averaged[name].where(averaged[name] > 0) for name in folds})


def average_applied(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """`average_values` of the scans that only get predictions (`applied_rows`), over all members; there may be none."""
    if all(table.empty for table in tables.values()):
        return pd.DataFrame(columns=[*ID_COLUMNS, "target", "prediction", "reason", "spread"])
    averaged = average_values({name: table.drop(columns="target") for name, table in tables.items()})
    targets = next(iter(tables.values())).set_index(KEY)["target"]  # the same in all, and missing where there is none
    scans = pd.MultiIndex.from_frame(averaged[KEY])
    averaged.insert(averaged.columns.get_loc("prediction"), "target", targets.loc[scans].array)
    return averaged


def member_rows(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """members.tsv: the rows of all members.

    Columns: member, scan_id, cohort, part; then target, prediction (and the probabilities of more than two classes), or
    tissue, dice, volume_ml, reference_ml. A member without a model has no rows.
    """
    predicted = [table.assign(member=name) for name, table in tables.items() if len(table)]
    rows = pd.concat(predicted, ignore_index=True)
    values = [name for name in MEMBER_VALUES if name in rows]
    return rows[MEMBER_COLUMNS + values + [name for name in rows if name.startswith("probability_")]]


def ensemble_scans(tables: dict[str, pd.DataFrame], samples: pd.DataFrame) -> pd.DataFrame:
    """The scans that the members of a segmentation predicted, sorted by cohort and scan.

    ``tables`` are the members' (`tested_once`, of `overlap_rows`). Columns: `id_columns`, and ``pack`` and ``row`` from
    ``samples``. Raises InputError where the members' scans don't agree, or ``samples`` lacks one.
    """
    _check_agreement_by_test_fold({name: _scans_of(table) for name, table in tables.items()})
    together = pd.concat(tables.values(), ignore_index=True)
    scans = _one_row_each(together[id_columns(together)], KEY)
    found = scans.merge(samples[[*KEY, "pack", "row"]], on=KEY, validate="one_to_one")
    if len(found) < len(scans):
        raise InputError(
            f"{len(scans) - len(found)} of the {len(scans)} scans that the members predicted are not among the experiment's "
            "samples: delete the predictions and run again to have them rebuilt."
        )
    return found


def mean_probabilities(
    scans: pd.DataFrame, tables: dict[str, pd.DataFrame], probabilities: dict[str, Path]
) -> Iterator[np.ndarray]:
    """Yield the mean probabilities of each row of ``scans`` over its members: (labels, X, Y, Z) float32, 0 to 1.

    ``tables`` (`overlap_rows`) and the files of ``probabilities`` (`predict`) of each member are of the same scans. With test
    folds, a member's validation rows are not used.
    """
    rows = {}
    for name, table in tables.items():
        own = _scans_of(table)
        predicted = pd.MultiIndex.from_frame(own[KEY])
        if (stored := len(read_probabilities(probabilities[name]))) != len(predicted):
            raise InputError(
                f"{probabilities[name]} contains {stored} scans and the predictions of {name} {len(predicted)}: delete both "
                "and run again to have them rebuilt."
            )
        place = predicted.get_indexer(pd.MultiIndex.from_frame(scans[KEY]))
        if TEST_FOLD in own:
            place = np.where((place >= 0) & (own["part"] == VALIDATION).to_numpy()[place], -1, place)
        rows[name] = place
    for index in in_turn(len(scans), "averaged"):
        # Mapped again for each scan: what has been read from a map would stay in memory.
        found = [read_probabilities(probabilities[name])[row[index]] for name, row in rows.items() if row[index] >= 0]
        total = np.zeros(found[0].shape, dtype=np.float32)
        for member in found:
            total += member
        yield total / (LEVELS * len(found))


def tested_once(table: pd.DataFrame) -> pd.DataFrame:
    """A member's rows that count in a segmentation: with test folds without validation rows, since each scan is held out once.

    Nothing is fitted on validation rows there, and so each scan has one label map.
    """
    return table[table["part"] != VALIDATION] if TEST_FOLD in table else table


def _scans_of(table: pd.DataFrame) -> pd.DataFrame:
    """The scans of a table with one row for each scan and tissue, in its order."""
    columns = [*KEY, "part", *([TEST_FOLD] if TEST_FOLD in table else [])]
    return table[columns].drop_duplicates(KEY)


def _one_row_each(stacked: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    return stacked.drop_duplicates(key).sort_values(key, kind="stable", ignore_index=True)


def _check_agreement_by_test_fold(tables: dict[str, pd.DataFrame]) -> None:
    """`_check_agreement` of the members of each test fold; between test folds, of their external rows."""
    by_fold: dict[int, dict[str, pd.DataFrame]] = {}
    external: dict[str, pd.DataFrame] = {}
    for name, table in tables.items():
        numbers = table[TEST_FOLD].dropna().tolist() if TEST_FOLD in table else []
        by_fold.setdefault(int(numbers[0]) if numbers else 0, {})[name] = table
        external[name] = table[table["part"] == "external"]
    for own in by_fold.values():
        _check_agreement(own)
    if len(by_fold) > 1:
        _check_agreement(external)


def _check_agreement(tables: dict[str, pd.DataFrame]) -> None:
    """Raise InputError unless all members have the same tested rows, and equal or disjoint validation rows, in one order."""
    first_name = next(iter(tables))
    tested: dict[str, list[Scan]] = {}
    validations: dict[str, list[Scan]] = {}
    targets: dict[Scan, float] = {}
    for name, table in tables.items():
        if table.duplicated(KEY).any():
            raise InputError(f"the predictions of {name} have a scan twice: delete them and run again.")
        validates = table["part"] == VALIDATION
        tested[name], own = (
            list(zip(*(table[key][rows] for key in KEY), strict=True)) for rows in (~validates, validates)
        )
        if tested[name] != tested[first_name]:
            raise InputError(
                _difference("held-out and external scans", first_name, tested[first_name], name, tested[name])
            )
        for other_name, other in validations.items():
            if own != other and set(own) & set(other):
                raise InputError(_difference("validation scans", other_name, other, name, own))
        validations[name] = own
        for *scan, target in zip(*(table[key] for key in (*KEY, "target")), strict=True) if "target" in table else ():
            known = targets.setdefault((scan[0], scan[1]), target)
            if known != target:
                raise InputError(
                    f"the target of {scan[1]} ({scan[0]}) is {known} in one member and {target} in {name}: delete the "
                    "older predictions and run again."
                )


def _difference(what: str, first_name: str, first: list[Scan], name: str, other: list[Scan]) -> str:
    """A sentence about the first difference between two lists of scans."""
    place = next((i for i, (a, b) in enumerate(zip(first, other, strict=False)) if a != b), min(len(first), len(other)))
    here, there = (" of ".join(reversed(scans[place])) if place < len(scans) else "no more" for scans in (first, other))
    return (
        f"the {what} of {first_name} ({len(first)}) and {name} ({len(other)}) differ: number {place + 1} is {here} and {there}. "
        "Delete the predictions of one and run again, so that both are of the same samples."
    )
