"""Who is in the study: the flow of participants with its exclusions, the parts' demographics, and the check that no
participant (and no image) stands on two sides of the split."""

from pathlib import Path

import pandas as pd

from neurocohort.files import sha256_of
from neurocohort.notes import NOTE_COLUMNS
from neurocohort.report import labels
from neurocohort.report.development import by_use, folds_sentence
from neurocohort.report.exclusions import compare_excluded
from neurocohort.report.sources import Missing, Sources

EXCLUSION_COLUMNS = ("participant_id", "scan_id", "stage", "reason")
SAMPLE_COLUMNS = ("scan_id", "participant_id", "cohort", "site", "part", "target", "age", "sex")


def cohort_flow(sources: Sources, data: Path, results: Path, cohort: str, experiments: dict[str, dict]) -> dict:
    """How many scans and participants of a cohort are left after ingest and after preprocessing with its quality
    limits, every exclusion with its reason, how the excluded compare with the kept (`exclusions.Comparison`), and the notes of
    ingest and preprocessing (`_notes`)."""
    what = f"the flow of participants of {labels.cohort(cohort)}"
    scans = sources.table(data / cohort / "scans.tsv", what, ("participant_id", "scan_id"))
    ingest = sources.table(data / cohort / "exclusions.tsv", what, EXCLUSION_COLUMNS, may_be_empty=True)
    every = sources.table(results / cohort / "exclusions.tsv", what, EXCLUSION_COLUMNS, may_be_empty=True)
    absent = [item for item in (scans, ingest, every) if isinstance(item, Missing)]
    flow = {"cohort": cohort, "steps": [], "missing": absent, "exclusions": [], "stages": [], "comparison": None}
    flow["notes"] = [
        found for folder in (data, results) for found in _notes(sources, folder / cohort / "notes.tsv", cohort)
    ]
    if not isinstance(every, Missing):
        flow["exclusions"] = every.to_dict("records")
        flow["stages"] = _stage_counts(every)
    if not absent:
        later = every[every["stage"] != "ingest"]
        kept = scans[~scans["scan_id"].isin(later["scan_id"])]
        found = pd.concat([scans[["participant_id", "scan_id"]], ingest[["participant_id", "scan_id"]]])
        flow["steps"] = [
            _step("Found in the source", found, []),
            _step("Ingested: read, and matched to a participant", scans, _stage_counts(ingest)),
            _step("Preprocessed, and within the quality limits", kept, _stage_counts(later)),
        ]
        tables = {"scans": scans, "ingest": ingest, "every": every}
        flow["comparison"] = compare_excluded(sources, data, cohort, tables, experiments)
    return flow


def experiment_flow(sources: Sources, results: Path, experiment: str) -> dict[str, list[dict]] | Missing:
    """The steps of an experiment's flow.tsv by cohort: text, participants and scans left, and those lost since."""
    path = results / "experiments" / experiment / "flow.tsv"
    table = sources.table(
        path, f"the flow of participants of {experiment}", ("step", "scans", "participants", "cohort")
    )
    if isinstance(table, Missing):
        return table
    flows: dict[str, list[dict]] = {}
    for row in table.to_dict("records"):
        steps = flows.setdefault(str(row["cohort"]), [])
        before = steps[-1] if steps else None
        step = {"text": row["step"], "participants": int(row["participants"]), "scans": int(row["scans"])}
        step["lost"] = _lost(before, step) if before else ""
        steps.append(step)
    return flows


def demographics(samples: pd.DataFrame, settings: dict, folds: int = 0) -> list[dict]:
    """One row a part and cohort, in the order of the split: participants, scans, age, sex, sites, and the target.

    Ages and sexes count each participant once, at the first of their scans. ``folds``: of the experiment's cross-validation;
    training and validation are then one part, since each participant was in both.
    """
    rows = []
    samples = by_use(samples, folds)
    for part in labels.PARTS:
        for cohort, group in samples[samples["part"] == part].groupby("cohort", sort=False):
            people = group.drop_duplicates("participant_id")
            ages = people["age"].dropna()
            women, known = int((people["sex"] == "F").sum()), int(people["sex"].notna().sum())
            rows.append(
                {
                    "part": labels.PARTS[part],
                    "cohort": labels.cohort(cohort),
                    "participants": len(people),
                    "scans": len(group),
                    "age": f"{ages.mean():.1f} ({ages.std():.1f})" if len(ages) > 1 else labels.number(ages.mean(), 1),
                    "age_range": f"{ages.min():.0f} to {ages.max():.0f}" if len(ages) else "–",
                    "women": f"{women} of {known} ({100 * women / known:.0f} %)" if known else "–",
                    "sites": ", ".join(f"{site} {count}" for site, count in _counts(people["site"])),
                    "target": _target(people["target"], settings),
                }
            )
    return rows


def split_check(
    sources: Sources, data: Path, results: Path, experiment: str, samples: pd.DataFrame, folds: int = 0
) -> dict:
    """Count what must not be: participants in two parts, images of equal voxels in two parts (between cohorts too), and
    samples whose part is not the one that the split gives them.

    ``counts`` has the participants of each part, training and validation as one where ``folds`` divide them, and ``folds`` a
    sentence on how.
    """
    keys = samples["cohort"].astype(str) + ": " + samples["participant_id"].astype(str)
    # Of one name in two cohorts nobody knows whether it is one person: the run's own guard stops there as well.
    crossing = samples.groupby("participant_id")["part"].transform("nunique") > 1
    overlapping = sorted(set(keys[crossing]))
    crossing_folds = 0
    if folds and "fold" in samples:
        crossing_folds = int((samples.groupby("participant_id")["fold"].nunique() > 1).sum())
    compared: list[pd.DataFrame] = []
    moved: list[str] = []
    hashes, missing = [], []
    for cohort, group in samples.groupby("cohort", sort=False):
        what = f"the check of the split of {experiment}"
        scans = sources.table(data / str(cohort) / "scans.tsv", what, ("scan_id", "voxels_sha256"))
        if isinstance(scans, Missing):
            missing.append(scans)
        else:
            merged = group[["scan_id", "part"]].merge(scans[["scan_id", "voxels_sha256"]], on="scan_id")
            compared.append(merged.dropna(subset=["voxels_sha256"]))
        if (group["part"] == "external").all():
            continue  # nothing of an external cohort was trained on, so it has no split here
        path = results / str(cohort) / "split.tsv"
        split = sources.table(path, what, ("participant_id", "part"))
        if isinstance(split, Missing):
            missing.append(split)
            continue
        hashes.append({"cohort": labels.cohort(cohort), "file": sources.name(path), "sha256": sha256_of(path)})
        frozen = dict(zip(split["participant_id"], split["part"], strict=True))
        unlike = group[group["part"] != group["participant_id"].map(frozen)]
        moved += sorted({f"{cohort}: {who}" for who in unlike["participant_id"]})
    sides = pd.concat(compared).groupby("voxels_sha256")["part"].nunique() if compared else pd.Series(dtype=int)
    images = int((sides > 1).sum())
    used = by_use(samples, folds)["part"]
    counts = [(labels.PARTS[part], int(keys[used == part].nunique())) for part in labels.PARTS if (used == part).any()]
    return {
        "counts": counts,
        "folds": folds_sentence(samples, folds),
        "overlapping": overlapping,
        "crossing_folds": crossing_folds,
        "images": images,
        "compared": sum(map(len, compared)),
        "moved": moved,
        "hashes": hashes,
        "missing": missing,
        "clean": not (overlapping or crossing_folds or images or moved or missing),
    }


def _notes(sources: Sources, path: Path, cohort: str) -> list[dict | Missing]:
    """The notes of one table by kind, with the name of the table. Each row has the scan or participant that it is about, empty
    for the cohort, and its sentence."""
    table = sources.table(path, f"the notes on {labels.cohort(cohort)}", NOTE_COLUMNS, may_be_empty=True)
    if isinstance(table, Missing):
        return [table]
    whose = table["scan_id"].fillna(table["participant_id"]).fillna("")
    rows = table.assign(whose=whose)[["kind", "whose", "note"]]
    return [
        {"kind": str(kind), "rows": group.to_dict("records"), "file": sources.name(path)}
        for kind, group in rows.groupby("kind", sort=False)
    ]


def _step(text: str, left: pd.DataFrame, stages: list[tuple[str, int]]) -> dict:
    lost = "; ".join(f"{count} at {stage}" for stage, count in stages)
    return {
        "text": text,
        "participants": int(left["participant_id"].nunique()),
        "scans": int(left["scan_id"].notna().sum()),
        "lost": f"Excluded: {lost}" if lost else "",
    }


def _lost(before: dict, after: dict) -> str:
    scans, people = before["scans"] - after["scans"], before["participants"] - after["participants"]
    if scans <= 0 and people <= 0:
        return ""
    return f"Left out: {labels.counted(people, 'participant')}, {labels.counted(scans, 'scan')}"


def _stage_counts(exclusions: pd.DataFrame) -> list[tuple[str, int]]:
    return [(str(stage).replace("_", " "), count) for stage, count in _counts(exclusions["stage"])]


def _counts(values: pd.Series) -> list[tuple[str, int]]:
    return [(str(value), int(count)) for value, count in values.value_counts().sort_index().items()]


def _target(values: pd.Series, settings: dict) -> str:
    if settings["task"] == "classification":
        counts = pd.to_numeric(values, errors="coerce").value_counts()
        return ", ".join(f"{int(counts.get(code, 0))} {name}" for code, name in enumerate(labels.classes(settings)))
    if settings["task"] == "regression":
        numbers = pd.to_numeric(values, errors="coerce").dropna()
        return f"{numbers.mean():.1f} ({numbers.std():.1f})" if len(numbers) > 1 else labels.number(numbers.mean(), 1)
    return ""
