"""The saliency map of a network next to that of the same network with random weights."""

import zipfile
from pathlib import Path

import numpy as np

from neurocohort.report import labels
from neurocohort.report.figures import Drawing
from neurocohort.report.figures_saliency import saliency_figure
from neurocohort.report.networks import spelt
from neurocohort.report.sources import Missing
from neurocohort.report.study import Experiment

MAPPED_TASKS = ("regression", "classification")
ARRAYS = ("network", "random", "mean_image", "mask")
ALIKE, UNLIKE = 0.6, 0.3  # rank correlations: the test is by Adebayo et al. (2018, NeurIPS), the thresholds are ours


def saliency(experiment: Experiment, output: Path) -> Drawing | Missing | None:
    """The figure of an experiment's saliency maps; None for a task that has none.

    It shows ``saliency/saliency.npz`` (network, random, mean_image: (X, Y, Z) float, the maps 0 to 1; mask: (X, Y, Z) uint8)
    and is written as WebP into the report's folder ``figures``.
    """
    if experiment.task not in MAPPED_TASKS:
        return None
    record = experiment.saliency
    if isinstance(record, Missing):
        return record
    arrays = _arrays(experiment)
    if isinstance(arrays, Missing):
        return arrays
    path = output / "figures" / f"{experiment.name}_saliency.webp"
    size = saliency_figure(arrays["network"], arrays["random"], arrays["mean_image"], arrays["mask"] > 0, path)
    title, correlation = experiment.heading, labels.number(record.correlation, 2)
    scans = labels.counted(record.scans, "scan")
    where, mask = ("", "the grid") if experiment.native else (" in template space", "the brain")
    one = ""
    if len(experiment.members) > 1:
        one = f" The map is of one of the networks, {spelt(record.member)}; the results are of their mean."
    return Drawing(
        f"figures/{path.name}",
        f"Saliency of {title} over the mean image of {scans}, in three axial, coronal and sagittal slices: the trained network "
        f"on the left, the same network with random weights on the right; their correlation is {correlation}.",
        f"{title}: {_sentence_of(record.method)}, averaged{where} over {scans} of the {record.part} part, "
        f"each map scaled by its own maximum.{one} Left the trained network, right the same network with random weights, on the "
        f"same slices. Look for what only the left one shows. Inside {mask} the two correlate by {correlation}: "
        f"{_reading(record.correlation)} A map shows where the network was sensitive, not what it used there.",
        *size,
    )


def _sentence_of(method: str) -> str:
    text = method.strip().rstrip(".").replace("_", " ")
    return text[:1].upper() + text[1:]


def _reading(correlation: float | None) -> str:
    """What the correlation with the map of random weights means."""
    if not labels.is_number(correlation):
        return "one of the maps is constant, so it shows nothing."
    amount = "much" if correlation >= ALIKE else "a part" if correlation > UNLIKE else "little"
    rest = " alone." if amount == "little" else ", not by what was learned."
    return f"{amount} of the map is drawn by the anatomy and the architecture{rest}"


def _arrays(experiment: Experiment) -> dict[str, np.ndarray] | Missing:
    path, what = experiment.folder / "saliency" / "saliency.npz", f"the saliency map of {experiment.name}"
    lack = experiment.sources.lack
    if not path.is_file():
        return lack(path, what)
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = {name: stored[name] for name in ARRAYS if name in stored}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        return lack(path, what, f"The file can't be read: {error}.")
    absent = [name for name in ARRAYS if name not in found]
    if absent:
        return lack(path, what, f"The file has no array {', '.join(absent)}.")
    shapes = {name: array.shape for name, array in found.items()}
    if len(set(shapes.values())) > 1 or found["network"].ndim != 3:
        return lack(path, what, f"Arrays of one shape (X, Y, Z) are expected; found {shapes}.")
    return found
