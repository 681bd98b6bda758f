"""Kernel models of smoothed tissue maps, for each task the one that is usually hard to beat with a few hundred scans.

A regression has a kernel ridge regression with a Gaussian (RBF) kernel on the maps of CSF, grey and white matter. A
classification has a linear support vector machine on the map of grey matter. Both need only the products of each scan's maps with
those of the training scans, which are computed once for all fits.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy import ndimage
from sklearn.utils import gen_batches

from neurocohort.dataset.folds import BaselineFit, joined
from neurocohort.evaluation.voxel_baselines import (
    Fit,
    Images,
    first_fault,
    kernel_of_fit,
    ridge,
    svm_decision,
    tuned_predictions,
)

KERNEL_RIDGE, GREY_MATTER_SVM = "tissue_kernel_ridge", "grey_matter_svm"
TISSUE_MODELS = (KERNEL_RIDGE, GREY_MATTER_SVM)
CHANNELS = ("CSF", "GM", "WM")  # of the packs
FWHM_MM = 8.0
GRID_MM = 4.0  # of the smoothed maps, if the study's grid is finer: all that the filter leaves
FWHM_OF_SD = 2.3548
BLOCK_VOXELS = 2**12  # converted to float at a time


def tissue_baselines(
    samples: pd.DataFrame,
    maps: Images | np.ndarray,
    *,
    fits: Sequence[BaselineFit],
    classes: int,
    seed: int,
    spacing_mm: float,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Predictions by the task's model of tissue maps for the rows that ``fits`` predict, else NaN; and why it is missing.

    ``tissue_kernel_ridge``, of a regression: the kernel of two scans with maps a squared distance d apart is exp(-gamma d), and
    gamma is 1 / (2 m), where m is the median of d over the pairs of training scans. ``grey_matter_svm``, of a classification:
    probabilities by Platt's method. The strength of the regularisation is chosen within the training rows of each fit, as in
    `voxel_baselines`, which also describes the other arguments.

    Args:
        samples: participant_id, target and what ``maps`` needs.
        maps: Reads the maps of rows of ``samples``, (rows, 3, X, Y, Z) uint8 in the order of `CHANNELS`. Or `features_of_task` of
            these rows, which the fits of several test folds share.
        fits: See `baselines.value_baselines`.
        classes: 0 for a regression.
        seed: Seed of the cross-validation.
        spacing_mm: Voxel size of the maps.
    """
    name = tissue_model(classes)
    if fault := first_fault(samples, fits, classes):
        return {}, {name: fault}
    features = maps if isinstance(maps, np.ndarray) else features_of_task(samples, maps, spacing_mm, classes)
    model: Fit = tissue_models(classes)[name]
    predictions = [
        tuned_predictions(model, kernel, fit.training, samples, classes=classes, seed=seed)
        for fit, kernel in zip(fits, tissue_kernels(features, fits, classes), strict=True)
    ]
    return {name: joined(fits, predictions)}, {}


def tissue_models(classes: int) -> dict[str, Fit]:
    """The task's model by its name; ``classes``: 0 for a regression."""
    return {GREY_MATTER_SVM: svm_decision} if classes else {KERNEL_RIDGE: ridge}


def tissue_kernels(features: np.ndarray, fits: Sequence[BaselineFit], classes: int) -> Iterator[np.ndarray]:
    """Yield the kernel of the task's model for each fit, (rows, training rows); for the arguments see `tissue_baselines`."""
    whole = fits[0].training
    products, squares = centred_products(features, whole)
    for fit in fits:
        if classes:
            yield kernel_of_fit(products, whole, fit.training)
        else:
            yield gaussian_kernel(products, squares, whole, fit.training)


def tissue_model(classes: int) -> str:
    """The name of the task's model; ``classes``: 0 for a regression."""
    return GREY_MATTER_SVM if classes else KERNEL_RIDGE


def features_of_task(samples: pd.DataFrame, maps: Images, spacing_mm: float, classes: int) -> np.ndarray:
    """`smoothed_features` of the maps that the task's model reads; ``classes``: 0 for a regression."""
    return smoothed_features(samples, maps, spacing_mm, CHANNELS[1:2] if classes else CHANNELS)


def of_grey_matter(features: np.ndarray) -> np.ndarray:
    """The part of `smoothed_features` that the model of grey matter reads."""
    return features.reshape(len(features), len(CHANNELS), -1)[:, CHANNELS.index("GM")]


def smoothed_features(
    samples: pd.DataFrame, maps: Images, spacing_mm: float, channels: Sequence[str] = CHANNELS
) -> np.ndarray:
    """The smoothed maps of each row of ``samples`` as one vector, (rows, voxels) uint8. One scan is read at a time."""
    places = [CHANNELS.index(channel) for channel in channels]
    return np.stack([smoothed(maps(samples.iloc[[row]])[0, places], spacing_mm).ravel() for row in range(len(samples))])


def smoothed(maps: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Smooth maps (C, X, Y, Z) to an FWHM of FWHM_MM on a grid of about GRID_MM, in the same units, uint8.

    Voxels of the coarse grid are means of blocks of voxels, which blurs a little; a Gaussian filter does the rest.
    """
    step = max(round(GRID_MM / spacing_mm), 1)
    padded = np.pad(maps, [(0, 0), *((0, -size % step) for size in maps.shape[1:])])
    x, y, z = (size // step for size in padded.shape[1:])
    means = padded.reshape(len(maps), x, step, y, step, z, step).mean(axis=(2, 4, 6), dtype=np.float32)
    variance_of_block = (step**2 - 1) / 12 * spacing_mm**2
    deviation_mm = np.sqrt(max((FWHM_MM / FWHM_OF_SD) ** 2 - variance_of_block, 0.0))
    filtered = [ndimage.gaussian_filter(one, deviation_mm / (step * spacing_mm), mode="constant") for one in means]
    return np.rint(filtered).astype(np.uint8)


def centred_products(features: np.ndarray, training: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Products of every row with every training row, (rows, training rows), and of every row with itself, (rows,).

    Args:
        features: (rows, columns); the mean of the training rows is subtracted from all.
        training: (rows,) bool.
    """
    products, squares = np.zeros((len(features), int(training.sum()))), np.zeros(len(features))
    for block in gen_batches(features.shape[1], BLOCK_VOXELS):
        values = features[:, block].astype(np.float32)
        values -= values[training].mean(axis=0)
        products += values @ values[training].T
        squares += (values**2).sum(axis=1)
    return products, squares


def gaussian_kernel(products: np.ndarray, squares: np.ndarray, whole: np.ndarray, training: np.ndarray) -> np.ndarray:
    """The Gaussian kernel of all rows with the training rows of a fit, (rows, training rows); gamma is theirs alone.

    Args:
        products: Of all rows with the rows ``whole``, see `centred_products`.
        squares: Of all rows.
        whole: (rows,) bool.
        training: (rows,) bool; all are in ``whole``.
    """
    distances = squares[:, None] + squares[training] - 2 * products[:, training[whole]]
    np.maximum(distances, 0, out=distances)
    median = np.median(distances[training][np.triu_indices(int(training.sum()), k=1)])
    return np.exp(distances / (-2 * max(float(median), 1e-12)))
