"""The samples of one experiment: its scans, their parts, and the number of scans left after each step."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd

from neurocohort.dataset.class_values import Classes
from neurocohort.dataset.filters import compile_filter
from neurocohort.dataset.folds import EXTERNAL, FOLDED_PARTS, SHUFFLED, test_fold_numbers, with_test_fold
from neurocohort.dataset.leakage import check_no_leakage
from neurocohort.dataset.packs import packed_scans
from neurocohort.dataset.split import EXCLUDED, PARTS
from neurocohort.dataset.targets import OTHER, class_names, target_values
from neurocohort.errors import InputError
from neurocohort.files import read_table
from neurocohort.settings.selection import WITH_VALUES

SCAN_COLUMNS = ("scan_id", "participant_id", "site", "age", "sex", "voxels_sha256")
KEPT_COLUMNS = ["scan_id", "participant_id", "cohort", "site", "part", "fold", "pack", "row", "target", "age", "sex"]
KEPT_COLUMNS += ["voxels_sha256"]


class CohortTables(TypedDict):
    """The tables of a cohort."""

    scans: pd.DataFrame
    qc: pd.DataFrame
    split: pd.DataFrame


def read_cohort_tables(data: Path, results: Path, cohorts: Iterable[str]) -> dict[str, CohortTables]:
    """Read the tables of ``cohorts`` in the folders ``data`` and ``results``, by name.

    Raises InputError for a table or column that isn't there.
    """
    return {
        name: {
            "scans": read_table(data / name / "scans.tsv", SCAN_COLUMNS),
            "qc": read_table(results / name / "qc.tsv", ("scan_id", "participant_id", "status", "has_labels")),
            "split": read_table(results / name / "split.tsv", ("participant_id", "part", "fold")),
        }
        for name in cohorts
    }


def select_samples(
    cohorts: Mapping[str, CohortTables],
    external: list[str],
    *,
    task: str,
    target: str,
    query: str,
    classes: Classes | None = None,
    test_folds: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Select the scans of an experiment. Participants whose part is ``excluded`` are left out.

    Args:
        cohorts: The cohorts' tables, by name.
        external: Cohorts that are tested and never trained on.
        task: regression, classification, segmentation or pretraining.
        target: The variable to predict; empty for a pretraining, for which scans need no value.
        query: A filter on the columns of scans.tsv, or empty. A column that a cohort lacks is missing in all its rows, so that
            ``dementia != 1`` keeps a cohort without ratings.
        classes: Of a classification, the values of ``target`` for each class; scans with other values are left out.
        test_folds: The study's number of test folds; 0 for none.

    Returns:
        ``samples``, with test folds also with test_fold after fold, and ``flow``: cohort, step, and the scans and participants
        that are left after the step.

    Raises:
        InputError: If the values of the target don't fit the task, if a part that training needs is empty, or if something leaks
            (`check_no_leakage`).
    """
    values = {}
    if task in WITH_VALUES:
        values = target_values({name: tables["scans"] for name, tables in cohorts.items()}, task, target, classes)
    samples, flow = [], []
    for name, tables in cohorts.items():
        rows = _rows(name, tables, values.get(name, target or float("nan")))
        kept = pd.Series(True, index=rows.index)
        for step, fulfilled in _steps(rows, tables, task, target, query, classes):
            kept &= fulfilled
            people = rows.loc[kept, "participant_id"]
            flow.append({"cohort": name, "step": step, "scans": len(people), "participants": people.nunique()})
        rows = rows[kept].astype({"row": int})
        samples.append(rows.assign(part=EXTERNAL, fold=pd.NA, test_fold=pd.NA) if name in external else rows)
    columns = list(KEPT_COLUMNS)
    if test_folds:
        columns.insert(columns.index("fold") + 1, "test_fold")
    selected = pd.concat(samples, ignore_index=True)[columns]
    if test_folds:
        selected = selected.astype({"test_fold": "Int64"})
    selected = selected.sort_values(["cohort", "scan_id"]).reset_index(drop=True)
    check_no_leakage(selected)
    for part, place in empty_parts(selected, range(1, test_folds + 1) if test_folds else [0]):
        wanted = f" for the target {target!r}" if target else ""
        raise InputError(
            f"no scan is left in the part {part!r}{place}{wanted}: see the steps in flow.tsv; use a larger "
            "cohort, another filter, or other fractions under `split`."
        )
    return selected, pd.DataFrame(flow)


def samples_without_value(
    cohorts: Mapping[str, CohortTables],
    external: list[str],
    *,
    task: str,
    target: str,
    query: str,
    classes: Classes | None = None,
) -> pd.DataFrame:
    """Select the scans of external cohorts that lack a value of the target only: networks are applied to them, without metrics.

    Args:
        cohorts: As for `select_samples`.
        external: As for `select_samples`.
        task: As for `select_samples`; a segmentation has no such scans.
        target: As for `select_samples`.
        query: As for `select_samples`.
        classes: As for `select_samples`.

    Returns:
        The columns of the samples and ``reason``.
    """
    found = []
    if task in WITH_VALUES:
        for name in external:
            scans = cohorts[name]["scans"]
            rows = _rows(name, cohorts[name], scans.get(target, pd.Series(float("nan"), index=scans.index)))
            kept = rows["target"].isna()
            for step, fulfilled in _steps(rows, cohorts[name], task, target, query, classes):
                kept &= fulfilled | (step == _with_value(target))
            found.append(rows[kept].assign(part=EXTERNAL, fold=pd.NA, reason=f"no value of {target}"))
    if not found:
        return pd.DataFrame(columns=[*KEPT_COLUMNS, "reason"])
    return pd.concat(found, ignore_index=True).astype({"row": int})[[*KEPT_COLUMNS, "reason"]]


def development_samples(samples: pd.DataFrame, test_fold: int = 0) -> pd.DataFrame:
    """The rows that a training may see: those of train and validation, with test folds without those of ``test_fold``."""
    own = with_test_fold(samples, test_fold)
    seen = own["part"].isin(FOLDED_PARTS)
    shuffled = [SHUFFLED.format(number) for number in test_fold_numbers(samples)]
    return samples[seen].assign(target=own.loc[seen, "target"]).drop(columns=shuffled, errors="ignore")


def empty_parts(samples: pd.DataFrame, test_folds: Iterable[int]) -> Iterator[tuple[str, str]]:
    """Yield each part that training or testing needs and that has no sample, and in words in which of the ``test_folds`` (``[0]``
    without test folds)."""
    for number in test_folds:
        found = set(with_test_fold(samples, number)["part"])
        for part in PARTS:
            if part not in found:
                yield part, f" while test fold {number} is held out" if number else ""


def _steps(
    rows: pd.DataFrame, tables: CohortTables, task: str, target: str, query: str, classes: Classes | None
) -> Iterator[tuple[str, pd.Series]]:
    """The name of each step of the selection, and the rows that fulfil it."""
    yield "ingested", pd.Series(True, index=rows.index)
    yield "preprocessed and of sufficient quality", rows["status"] == "ok"
    if (tables["split"]["part"] == EXCLUDED).any():
        yield "not excluded by the split file", rows["part"] != EXCLUDED
    if query:
        fulfilled = map(compile_filter(query), tables["scans"].to_dict("records"))
        yield f"filter: {query}", pd.Series(fulfilled, index=rows.index, dtype=bool)
    if task == "segmentation":
        yield "with a reference segmentation", rows["has_labels"] == "yes"
    elif task in WITH_VALUES:
        yield _with_value(target), rows["target"].notna()
    if classes:
        yield f"{target} is {' or '.join(class_names(classes))}", rows["target"] != OTHER


def _with_value(target: str) -> str:
    return f"with a value of {target}"


def _rows(cohort: str, tables: CohortTables, target: Any) -> pd.DataFrame:
    """A row per scan with the columns of samples.tsv; ``row`` is missing for scans that aren't packed.

    Other columns of scans.tsv aren't copied: a user's variable may be called part, row or target too.
    """
    scans, split, qc = tables["scans"], tables["split"], tables["qc"].set_index("scan_id")
    twice = sorted(set(split.loc[split["participant_id"].duplicated(), "participant_id"]))
    if twice:
        raise InputError(
            f"the split of {cohort} names {len(twice)} participant(s) more than once: {', '.join(twice[:10])}. All sessions of "
            f"a person are in one part; delete results/{cohort}/split.tsv and run again, or correct the cohort's `split_file`."
        )
    packed = packed_scans(tables["qc"], split).set_index("scan_id")
    split = split.set_index("participant_id")
    rows = scans[[*SCAN_COLUMNS]].assign(cohort=cohort, target=target)
    for name, table, key in (
        ("part", split, "participant_id"),
        ("fold", split, "participant_id"),
        *([("test_fold", split, "participant_id")] if "test_fold" in split else []),
        ("pack", packed, "scan_id"),
        ("row", packed, "scan_id"),
        ("status", qc, "scan_id"),
        ("has_labels", qc, "scan_id"),
    ):
        rows[name] = rows[key].map(table[name])
    partless = sorted(set(rows.loc[rows["part"].isna(), "participant_id"]))
    if partless:
        raise InputError(
            f"the split of {cohort} lacks {len(partless)} participant(s) of its scans: {', '.join(partless[:10])}. It is older "
            f"than the scans; delete results/{cohort}/split.tsv and run again."
        )
    return rows.astype({name: "Int64" for name in ("fold", "test_fold") if name in rows})
