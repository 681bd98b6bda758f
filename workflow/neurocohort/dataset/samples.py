"""The samples of one experiment: which scans it uses, in which part, and how many were left after each step."""

import pandas as pd

from neurocohort.dataset.filters import compile_filter
from neurocohort.dataset.leakage import check_no_leakage
from neurocohort.dataset.packs import packed_scans
from neurocohort.dataset.split import EXCLUDED, PARTS
from neurocohort.dataset.targets import OTHER, class_names, target_values
from neurocohort.errors import InputError

SCAN_COLUMNS = ("scan_id", "participant_id", "site", "age", "sex", "voxels_sha256")
KEPT_COLUMNS = ["scan_id", "participant_id", "cohort", "site", "part", "fold", "pack", "row", "target", "age", "sex"]
KEPT_COLUMNS += ["voxels_sha256"]


def select_samples(
    cohorts: dict[str, dict[str, pd.DataFrame]],
    external: list[str],
    *,
    task: str,
    target: str,
    query: str,
    classes: list[list[str]] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The experiment's ``samples`` and its ``flow`` (cohort, step, scans, participants left after the step).

    ``cohorts``: by name, the tables ``scans``, ``qc`` and ``split``. Cohorts in ``external``
    are never trained on. ``query``: a filter on the columns of scans.tsv, empty for none; a column that a cohort lacks is
    missing in all its rows, so ``dementia != 1`` keeps a cohort without ratings. ``classes``: of a classification, the values
    of ``target`` that are class 0 and class 1; scans with others are left out. Participants whose part is ``excluded`` are left
    out of every cohort. Raises InputError where the target's values don't fit the task, where a part that training needs is
    empty, and where something leaks (`check_no_leakage`).
    """
    values = {}
    if task != "segmentation":
        values = target_values({name: tables["scans"] for name, tables in cohorts.items()}, task, target, classes)
    samples, flow = [], []
    for name, tables in cohorts.items():
        rows = _rows(name, tables, values.get(name, target))
        steps = [("preprocessed and of sufficient quality", rows["status"] == "ok")]
        if (tables["split"]["part"] == EXCLUDED).any():
            steps.append(("not excluded by the split file", rows["part"] != EXCLUDED))
        if query:
            steps.append((f"filter: {query}", rows.index.isin(_fulfilling(tables["scans"], query))))
        if task == "segmentation":
            steps.append(("with a reference segmentation", rows["has_labels"] == "yes"))
        else:
            steps.append((f"with a value of {target}", rows["target"].notna()))
        if classes:
            steps.append((f"{target} is {' or '.join(class_names(classes))}", rows["target"] != OTHER))
        kept = rows.index == rows.index
        for step, holds in [("ingested", kept), *steps]:
            kept = kept & holds
            people = rows.loc[kept, "participant_id"]
            flow.append({"cohort": name, "step": step, "scans": len(people), "participants": people.nunique()})
        rows = rows[kept].astype({"row": int})
        samples.append(rows.assign(part="external", fold=pd.NA) if name in external else rows)
    selected = (
        pd.concat(samples, ignore_index=True)[KEPT_COLUMNS].sort_values(["cohort", "scan_id"]).reset_index(drop=True)
    )
    check_no_leakage(selected)
    for part in PARTS:
        if not (selected["part"] == part).any():
            raise InputError(
                f"no scan is left in the part {part!r} for the target {target!r}: see the steps in flow.tsv; a larger cohort, "
                "another filter or other shares under `split` are the ways out."
            )
    return selected, pd.DataFrame(flow)


def _rows(cohort: str, tables: dict[str, pd.DataFrame], target: pd.Series | str) -> pd.DataFrame:
    """A row a scan, with what samples.tsv keeps of it; ``row`` is missing for scans that aren't packed.

    Nothing else of scans.tsv comes along: a variable of a user's may be called part, row or target too.
    """
    scans, split, qc = tables["scans"], tables["split"], tables["qc"].set_index("scan_id")
    twice = sorted(set(split.loc[split["participant_id"].duplicated(), "participant_id"]))
    if twice:
        raise InputError(
            f"the split of {cohort} names {len(twice)} participant(s) more than once: {', '.join(twice[:10])}. All sessions of "
            f"a person share one part; delete results/{cohort}/split.tsv and run again, or correct the cohort's `split_file`."
        )
    packed = packed_scans(tables["qc"], split).set_index("scan_id")
    split = split.set_index("participant_id")
    rows = scans[[*SCAN_COLUMNS]].assign(cohort=cohort, target=target)
    for name, table, key in (
        ("part", split, "participant_id"),
        ("fold", split, "participant_id"),
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
    return rows.astype({"fold": "Int64"})


def _fulfilling(scans: pd.DataFrame, query: str) -> pd.Index:
    """The index of the scans for which the filter holds."""
    holds = compile_filter(query)
    return scans.index[[holds(row) for row in scans.to_dict("records")]]
