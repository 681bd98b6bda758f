"""The best, the median and the worst of the held-out scans, which a figure over all scans hides."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from neurocohort.errors import StorageFailed
from neurocohort.imaging.derivatives import mosaic_name, scan_folder
from neurocohort.report import labels, mosaics
from neurocohort.report.figures import Drawing
from neurocohort.report.sources import Missing
from neurocohort.report.study import Cohort, Experiment, Read

ADVICE = {
    "Best": "Look whether this scan is like most of the cohort: an easy one flatters.",
    "Median": "Half of the scans did better, half did worse: look at what is usual.",
    "Worst": "Look for movement, a brain mask that cuts or leaks, and outlines that miss the brain. None of them: the head is "
    "unusual, the reference wrong, or the network at fault.",
}
NATIVE_WORST = (
    "Look for movement, and for a part that is cut off. None of them: the anatomy is unusual, the reference wrong, or the "
    "network at fault."
)
ScanKey = tuple[str, str]  # cohort, scan_id


@dataclass(frozen=True)
class Case:
    """A scan with its place (Best, Median, Worst), its numbers in words, its mosaic, and its page (None without one)."""

    place: str
    scan_id: str
    numbers: str
    image: Drawing | Missing
    page: str | None


def cases(experiment: Experiment, predictions: Read, output: Path) -> list[Case]:
    """The best, the median and the worst held-out scan; fewer where there are fewer scans.

    Args:
        experiment: The experiment.
        predictions: Its predictions on the held-out part.
        output: The report's folder, which has the mosaics of the gallery already.
    """
    if isinstance(predictions, Missing):
        return []
    chosen = best_median_worst(errors_by_scan(predictions, experiment.task))
    cohorts = {cohort.name: cohort for cohort in experiment.cohorts}
    found = []
    for place, (name, scan_id) in chosen.items():
        rows = predictions[(predictions["cohort"] == name) & (predictions["scan_id"] == scan_id)]
        quality = cohorts[name].quality
        has_page = not isinstance(quality, Missing) and (quality["scan_id"] == scan_id).any()
        advice = NATIVE_WORST if place == "Worst" and experiment.native else ADVICE[place]
        caption = f"{place}: {scan_id} ({labels.cohort(name)}). {advice}"
        image = _mosaic(cohorts[name], scan_id, output, caption)
        page = f"subjects/{name}/{scan_id}.html" if has_page else None
        found.append(Case(place, scan_id, _numbers(experiment, rows), image, page))
    return found


def errors_by_scan(predictions: pd.DataFrame, task: str) -> pd.Series:
    """The error of each held-out scan's prediction, smallest first, ties by scan_id, without those that aren't known.

    Returns:
        By (cohort, scan_id): the absolute error of a regression; 1 minus the probability of the true class; 1 minus the mean
        Dice over the tissues.
    """
    rows = predictions[predictions["part"] == "held-out"]
    if task == "segmentation":
        error = 1 - rows["dice"]
    elif "probability_0" in rows:
        rows = rows.dropna(subset=["target"])
        columns = [f"probability_{code:.0f}" for code in rows["target"]]
        own = [rows.at[index, name] for index, name in zip(rows.index, columns, strict=True)]
        error = 1 - pd.Series(own, rows.index, dtype=float)
    else:
        error = (rows["prediction"] - rows["target"]).abs()
    by_scan = error.groupby([rows["cohort"].astype(str), rows["scan_id"]]).mean().dropna().rename("error").reset_index()
    return by_scan.sort_values(["error", "scan_id"], kind="stable").set_index(["cohort", "scan_id"])["error"]


def best_median_worst(errors: pd.Series) -> dict[str, ScanKey]:
    """The scans at the ends and in the middle of `errors_by_scan`, each once, by their place."""
    last = len(errors) - 1
    found: dict[int, str] = {}
    for place, index in (("Best", 0), ("Worst", last), ("Median", last // 2)):  # of two scans, none is the median
        if last >= 0:
            found.setdefault(index, place)
    keys = {index: errors.index[index] for index in sorted(found)}
    return {found[index]: (str(cohort), str(scan_id)) for index, (cohort, scan_id) in keys.items()}


def _numbers(experiment: Experiment, rows: pd.DataFrame) -> str:
    """The prediction for one scan in words."""
    if experiment.task == "segmentation":
        known = rows.dropna(subset=["dice"])
        tissues = zip(known["tissue"], known["dice"], strict=True)
        by_tissue = ", ".join(f"{tissue} {labels.number(dice, 3)}" for tissue, dice in tissues)
        return f"Dice {labels.number(known['dice'].mean(), 3)} on average ({by_tissue})"
    row = rows.iloc[0]
    true, predicted = row["target"], row["prediction"]
    if experiment.task == "regression":
        unit = labels.unit(experiment.target)
        return (
            f"predicted {labels.number(predicted, 1)}, true {labels.number(true, 1)}{unit}, "
            f"difference {labels.number(predicted - true, 1)}{unit}"
        )
    names = experiment.classes
    if "probability_0" in rows:
        own = labels.number(row[f"probability_{int(true)}"], 2)
        return f"true class {names[int(true)]}, predicted with a probability of {own}; called {names[int(predicted)]}"
    return f"probability of {names[1]} {labels.number(predicted, 3)}, true class {names[int(true > 0)]}"


def _mosaic(cohort: Cohort, scan_id: str, output: Path, caption: str) -> Drawing | Missing:
    """The mosaic that the gallery put into the report, else the scan's own."""
    target = output / "mosaics" / cohort.name / f"{scan_id}.webp"
    source = scan_folder(cohort.results / "preproc", scan_id) / mosaic_name(scan_id)
    if not target.is_file() and not source.is_file():
        return cohort.sources.lack(source, f"the mosaic of {scan_id}")
    try:
        if not target.is_file():
            mosaics.place(source, target, None)
        with Image.open(target) as image:
            size = image.size
    except StorageFailed:  # the image is not at fault
        raise
    except OSError:
        target.unlink(missing_ok=True)
        return cohort.sources.lack(source, f"the mosaic of {scan_id}", mosaics.UNREADABLE)
    return mosaics.drawing(cohort, scan_id, caption, size)
