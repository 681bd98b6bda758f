"""The best, the median and the worst of the held-out scans: what a figure over all of them hides."""

from pathlib import Path

import pandas as pd
from PIL import Image

from neurocohort.errors import StorageFailed
from neurocohort.imaging.derivatives import mosaic_name, scan_folder
from neurocohort.report import labels, mosaics
from neurocohort.report.figures import Drawing
from neurocohort.report.part import Part
from neurocohort.report.sources import Missing

PLACES = ("Best", "Median", "Worst")
ADVICE = {
    "Best": "Look whether this scan is like most of the cohort: an easy one flatters.",
    "Median": "Half of the scans did better, half did worse: look at what is usual.",
    "Worst": "Look for movement, a brain mask that cuts or leaks, and outlines that miss the brain. None of them: the head is "
    "unusual, the reference wrong, or the network at fault.",
}


def cases(part: Part, results: Path, required: tuple[str, ...]) -> list[dict]:
    """Up to three records with ``place`` (Best, Median, Worst), ``scan_id``, ``numbers`` (a sentence), ``image`` (the scan's
    mosaic as the gallery has it, a Drawing or Missing) and ``page`` (its subject page, relative to the index; None without one).

    By the absolute error of a regression, the distance of the probability from the true class, and the mean Dice over the
    tissues. None where there are no predictions, which have a red box of their own.
    """
    predictions = part.rows("predictions.tsv", "the figures", required)
    if isinstance(predictions, Missing):
        return []
    scored = _scored(part, predictions).sort_values(["error", "scan_id"], kind="stable").reset_index(drop=True)
    if scored.empty:
        return []
    chosen = {"Best": 0, "Median": (len(scored) - 1) // 2, "Worst": len(scored) - 1}
    found, seen = [], set()
    for place in ("Best", "Worst", "Median"):  # of two scans the second is the worst, not the median
        if chosen[place] not in seen:
            seen.add(chosen[place])
            found.append(_case(part, results, scored.iloc[chosen[place]].to_dict(), place))
    return sorted(found, key=lambda case: PLACES.index(case["place"]))


def _scored(part: Part, predictions: pd.DataFrame) -> pd.DataFrame:
    """A row a scan: cohort, scan_id, error (larger is worse), numbers."""
    task, target = part.settings["task"], part.settings["target"]
    if task == "segmentation":
        return pd.DataFrame(
            [
                {"cohort": cohort, "scan_id": scan_id, "error": -rows["dice"].mean(), "numbers": _overlap(rows)}
                for (cohort, scan_id), rows in predictions.dropna(subset=["dice"]).groupby(
                    ["cohort", "scan_id"], sort=False
                )
            ],
            columns=["cohort", "scan_id", "error", "numbers"],
        )
    usable = predictions.dropna(subset=["target", "prediction"]).copy()
    if task == "regression":
        usable["error"] = (usable["prediction"] - usable["target"]).abs()
        unit, places = labels.unit(target), 1
        usable["numbers"] = [
            f"predicted {labels.number(row['prediction'], places)}, true {labels.number(row['target'], places)}{unit}, "
            f"difference {labels.number(row['prediction'] - row['target'], places)}{unit}"
            for row in usable.to_dict("records")
        ]
    elif "probability_0" in usable:
        names = part.classes
        own = [float(row[f"probability_{int(row['target'])}"]) for row in usable.to_dict("records")]
        usable["error"] = [1 - value for value in own]
        usable["numbers"] = [
            f"true class {names[int(code)]}, predicted with a probability of {labels.number(value, 2)}; called "
            f"{names[int(called)]}"
            for code, value, called in zip(usable["target"], own, usable["prediction"], strict=True)
        ]
    else:
        usable["error"] = (usable["prediction"] - (usable["target"] > 0)).abs()
        usable["numbers"] = [
            f"probability of {part.classes[1]} {labels.number(row['prediction'], 3)}, true class "
            f"{part.classes[int(row['target'] > 0)]}"
            for row in usable.to_dict("records")
        ]
    return usable[["cohort", "scan_id", "error", "numbers"]]


def _overlap(rows: pd.DataFrame) -> str:
    told = ", ".join(
        f"{tissue} {labels.number(dice, 3)}" for tissue, dice in zip(rows["tissue"], rows["dice"], strict=True)
    )
    return f"Dice {labels.number(rows['dice'].mean(), 3)} on average ({told})"


def _case(part: Part, results: Path, scan: dict, place: str) -> dict:
    cohort, scan_id = str(scan["cohort"]), str(scan["scan_id"])
    what = f"the quality table of {labels.cohort(cohort)}"
    quality = part.sources.table(results / cohort / "qc.tsv", what, ("scan_id", "status"))
    has_page = not isinstance(quality, Missing) and (quality["scan_id"] == scan_id).any()  # a page for each of its rows
    return {
        "place": place,
        "scan_id": scan_id,
        "numbers": scan["numbers"],
        "image": _mosaic(
            part,
            results,
            cohort,
            scan_id,
            f"{place}: {scan_id} ({labels.cohort(cohort)}). {ADVICE[place]}",
        ),
        "page": f"subjects/{cohort}/{scan_id}.html" if has_page else None,
    }


def _mosaic(part: Part, results: Path, cohort: str, scan_id: str, caption: str) -> Drawing | Missing:
    """The mosaic that the gallery put into the report, else the scan's own."""
    file = f"mosaics/{cohort}/{scan_id}.webp"
    source = scan_folder(results / cohort / "preproc", scan_id) / mosaic_name(scan_id)
    what = f"the mosaic of {scan_id}"
    if not (part.output / file).is_file() and not source.is_file():
        return part.sources.lack(source, what)
    try:
        if not (part.output / file).is_file():
            mosaics.place(source, part.output / file, None)
        with Image.open(part.output / file) as image:
            width, height = image.size
    except StorageFailed:  # no fault of the image
        raise
    except OSError:
        (part.output / file).unlink(missing_ok=True)
        return part.sources.lack(source, what, "The file is not an image that can be read.")
    alt = f"Slices of {scan_id}: the scan with its brain mask, and the registered brain with the template's outlines"
    return Drawing(file, alt, caption, width, height)
