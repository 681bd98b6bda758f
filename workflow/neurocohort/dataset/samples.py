"""The samples of one experiment: which scans it uses, in which part, and how many were left after each step."""

import pandas as pd

from neurocohort.configuration_experiments import filter_columns
from neurocohort.errors import InputError

SEX_CLASSES = {"F": 0, "M": 1}
KEPT_COLUMNS = ["scan_id", "participant_id", "cohort", "site", "part", "row", "target", "age", "sex"]


def select_samples(
    cohorts: dict[str, dict[str, pd.DataFrame]], external: list[str], *, task: str, target: str, query: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The experiment's ``samples`` and its ``flow`` (cohort, step, scans, participants left after the step).

    ``cohorts``: by name, the tables ``scans``, ``qc``, ``split`` and ``index`` (of the packed arrays). Cohorts in ``external``
    are never trained on. ``query``: a filter on the columns of scans.tsv, empty for none; a column that a cohort lacks is
    missing in all its rows, so ``dementia != 1`` keeps a cohort without ratings. Raises InputError where a part that training
    needs is empty.
    """
    samples, flow = [], []
    for name, tables in cohorts.items():
        scans = tables["scans"].copy()
        steps = [("ingested", scans)]
        scans = scans.merge(tables["index"], on="scan_id", how="inner")
        steps.append(("preprocessed and of sufficient quality", scans))
        if query:
            for column in sorted(filter_columns(query) - set(scans.columns)):
                scans[column] = float("nan")
            scans = scans.query(query, engine="python")
            steps.append((f"filter: {query}", scans))
        scans = scans.copy()
        if task == "segmentation":
            scans = scans[scans["has_labels"] == 1]
            scans["target"] = target
            steps.append(("with a reference segmentation", scans))
        else:
            scans["target"] = scans[target] if target in scans else float("nan")
            if target == "sex":
                scans["target"] = scans["sex"].map(SEX_CLASSES)
            scans = scans[scans["target"].notna()]
            steps.append((f"with a value of {target}", scans))
        if name in external:
            scans["part"] = "external"
        else:
            scans = scans.merge(
                tables["split"][["participant_id", "part"]], on="participant_id", validate="many_to_one"
            )
        scans["cohort"] = name
        samples.append(scans[KEPT_COLUMNS])
        flow += [
            {"cohort": name, "step": text, "scans": len(left), "participants": left["participant_id"].nunique()}
            for text, left in steps
        ]
    selected = pd.concat(samples, ignore_index=True).sort_values(["cohort", "scan_id"]).reset_index(drop=True)
    check_no_leakage(selected)
    for part in ("train", "validation", "held-out"):
        if not (selected["part"] == part).any():
            raise InputError(
                f"no scan is left in the part {part!r} for the target {target!r}: see the steps in flow.tsv; a larger cohort, "
                "another filter or other shares under `split` are the ways out."
            )
    return selected, pd.DataFrame(flow)


def check_no_leakage(samples: pd.DataFrame) -> None:
    """Raise InputError, with names, where a participant stands in more than one part. It can't be switched off."""
    parts = samples.groupby("participant_id")["part"].nunique()
    crossing = sorted(parts.index[parts > 1])
    if crossing:
        raise InputError(
            f"{len(crossing)} participant(s) stand on more than one side of the split: {', '.join(crossing[:10])}. A person's "
            "scans must share one part; rename the participants if they are different people, or drop one cohort."
        )
