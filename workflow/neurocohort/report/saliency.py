"""Where a network looked: its saliency map beside that of the same network with random weights."""

import zipfile
from pathlib import Path

import numpy as np

from neurocohort.report import labels
from neurocohort.report.figures import Drawing
from neurocohort.report.figures_saliency import saliency_drawing, saliency_figure
from neurocohort.report.networks import spelt
from neurocohort.report.sources import Missing, Sources

MAPPED_TASKS = ("regression", "classification")
ARRAYS = ("network", "random", "mean_image", "mask")
KEYS = ("method", "scans", "part", "correlation")
ALIKE, UNLIKE = 0.6, 0.3  # rank correlations: the test is Adebayo et al.'s (2018, NeurIPS), where to cut is ours


def saliency(
    sources: Sources, results: Path, experiment: str, settings: dict, output: Path
) -> Drawing | Missing | None:
    """The figure of the maps of ``saliency/`` of an experiment, or Missing; None for a task that has none.

    It reads ``saliency.npz`` (network, random, mean_image: (X, Y, Z) float, the maps 0 to 1; mask: (X, Y, Z) uint8) and
    ``saliency.json`` (method, scans, part, correlation), and writes a WebP into ``output``'s folder ``figures``.
    """
    if settings["task"] not in MAPPED_TASKS:
        return None
    folder = results / "experiments" / experiment / "saliency"
    what = f"the saliency map of {experiment}"
    record = sources.record(folder / "saliency.json", what)
    if isinstance(record, Missing):
        return record
    absent = [key for key in KEYS if key not in record]
    if absent:
        return sources.lack(folder / "saliency.json", what, f"The file has no {', '.join(absent)}.")
    arrays = _arrays(sources, folder / "saliency.npz", what)
    if isinstance(arrays, Missing):
        return arrays
    path = output / "figures" / f"{experiment}_saliency.webp"
    size = saliency_figure(*(arrays[name] for name in ARRAYS[:3]), arrays["mask"] > 0, path)
    title = labels.spaced(experiment)
    correlation = labels.number(record["correlation"], 2)
    scans = labels.counted(int(record["scans"]), "scan")
    return saliency_drawing(
        path,
        size,
        f"Saliency of {title} over the mean image of {scans}, in three axial, coronal and sagittal slices: the trained network "
        f"on the left, the same network with random weights on the right; their correlation is {correlation}.",
        f"{title}: {_sentence_of(record['method'])}, averaged in template space over {scans} of the {record['part']} part, "
        "each map scaled by its own maximum."
        f"{_of_one(record, settings)} Left the trained network, right the same network with random weights, on the same "
        f"slices. Look for what only the left one shows. Inside the brain the two correlate by {correlation}: "
        f"{_reading(record['correlation'])} A map says where the network was sensitive, not what it used there.",
    )


def _of_one(record: dict, settings: dict) -> str:
    """Which of several networks the map is of."""
    training = settings.get("training") or {}
    if len(training.get("seeds") or ()) < 2 and not training.get("cross_validation"):
        return ""
    return f" The map is of one of the networks, {spelt(str(record.get('member', 'the first')))}; the results are of their mean."


def _sentence_of(method: object) -> str:
    text = str(method).strip().rstrip(".").replace("_", " ")
    return text[:1].upper() + text[1:]


def _reading(correlation: object) -> str:
    if not labels.is_number(correlation):
        return "one of the maps is constant, so it says nothing."
    if float(correlation) >= ALIKE:  # type: ignore[arg-type]
        return "much of the map is drawn by the anatomy and the architecture, not by what was learned."
    if float(correlation) > UNLIKE:  # type: ignore[arg-type]
        return "a part of the map is drawn by the anatomy and the architecture, not by what was learned."
    return "little of the map is drawn by the anatomy and the architecture alone."


def _arrays(sources: Sources, path: Path, what: str) -> dict[str, np.ndarray] | Missing:
    if not path.is_file():
        return sources.lack(path, what)
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = {name: stored[name] for name in ARRAYS if name in stored}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        return sources.lack(path, what, f"The file can't be read: {error}.")
    absent = [name for name in ARRAYS if name not in found]
    if absent:
        return sources.lack(path, what, f"The file has no array {', '.join(absent)}.")
    shapes = {name: array.shape for name, array in found.items()}
    if len(set(shapes.values())) > 1 or found["network"].ndim != 3:
        return sources.lack(path, what, f"Arrays of one shape (X, Y, Z) are expected; found {shapes}.")
    return found
