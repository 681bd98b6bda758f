"""Linear models of the voxels: ridge regression and a linear support vector machine, without all volumes in memory.

Both need only the products of each volume with the training volumes (the linear kernel), which are summed in chunks over the
memory-mapped arrays.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
import pandas as pd
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KernelCenterer, StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.utils import gen_batches

from neurocohort.dataset.folds import BaselineFit, joined

Images = Callable[[pd.DataFrame], np.ndarray]  # rows of samples to their volumes, (rows, C, X, Y, Z) uint8
Fit = Callable[[np.ndarray, np.ndarray, np.ndarray, float], np.ndarray]

FOLDS = 5
FEWEST_PARTICIPANTS = 5
FEWEST_OF_A_CLASS = 2  # participants: one to fit on and one to validate on
CHUNK_BYTES = 256 * 2**20  # of eight-bit voxels; two chunks are in memory at a time
BLOCK_VOXELS = 2**16  # converted to float at a time; a float32 sum of this length has six correct digits
# Strongest regularisation first, so that it wins a tie. The kernel's mean diagonal is 1 when they apply.
STRENGTHS = np.logspace(2, -4, 7)


class VoxelKernel:
    """The linear kernel of the training volumes of several fits, computed once, when it is first needed.

    Args:
        samples: What ``images`` needs of each row.
        images: Reads the volumes of rows of ``samples``.
        rows: The rows that any fit may be trained on, (rows,) bool.
    """

    def __init__(self, samples: pd.DataFrame, images: Images, rows: np.ndarray) -> None:
        self.samples, self.images, self.rows = samples, images, rows

    @cached_property
    def gram(self) -> np.ndarray:
        """`voxel_gram` of all the rows."""
        return voxel_gram(self.samples, self.images, self.rows)


def voxel_baselines(
    samples: pd.DataFrame, images: Images | VoxelKernel, *, fits: Sequence[BaselineFit], classes: int, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Predictions by ``voxel_ridge`` and ``voxel_svm`` for the rows that ``fits`` predict, else NaN; and why one is missing.

    The strength is chosen by cross-validation of whole participants within the training rows of each fit: the smallest mean
    squared error, or the largest AUC. Decision values become probabilities by a logistic fit on the cross-validated ones (Platt
    1999), each class against the rest.

    Args:
        samples: participant_id, target and what ``images`` needs.
        images: Reads the volumes of rows of ``samples``; called for the first fit only. Or the kernel of these rows, which the
            fits of several test folds share.
        fits: See `value_baselines`.
        classes: 0 for a regression, with values (rows,); else the number of classes, with probabilities of class 1 (rows,), or
            (rows, classes) for more than two.
        seed: Seed of the cross-validation.

    Raises:
        ValueError: If the first fit's training rows lack one of another's.
    """
    models = voxel_models(classes)
    if fault := first_fault(samples, fits, classes):
        return {}, dict.fromkeys(models, fault)
    kernel = images if isinstance(images, VoxelKernel) else VoxelKernel(samples, images, fits[0].training)
    predictions: dict[str, list[np.ndarray]] = {name: [] for name in models}
    for fit in fits:
        own = kernel_of_fit(kernel.gram, kernel.rows, fit.training)
        for name, model in models.items():
            predictions[name].append(tuned_predictions(model, own, fit.training, samples, classes=classes, seed=seed))
    return {name: joined(fits, values) for name, values in predictions.items()}, {}


def voxel_models(classes: int) -> dict[str, Fit]:
    """The models of `voxel_baselines` by name; ``classes``: 0 for a regression."""
    return {"voxel_ridge": ridge, "voxel_svm": svm_decision if classes else _svm_regression}


def first_fault(samples: pd.DataFrame, fits: Sequence[BaselineFit], classes: int) -> str:
    """Why the first of ``fits`` with too few participants for a kernel model can't be fitted, a sentence; empty if all can."""
    people, targets = samples["participant_id"].to_numpy(), samples["target"].to_numpy(dtype=float)
    faults = (fit.about(_fault(people[fit.training], targets[fit.training], classes)) for fit in fits)
    return next(filter(None, faults), "")


def tuned_predictions(
    model: Fit, kernel: np.ndarray, training: np.ndarray, samples: pd.DataFrame, *, classes: int, seed: int
) -> np.ndarray:
    """Predictions of a kernel model for all rows, with the strength chosen by cross-validation within the training rows.

    Args:
        model: Fits a kernel and targets, and returns values of the tested rows: `ridge` or `svm_decision`.
        kernel: Of all rows with the training rows, (rows, training rows); the mean of its diagonal is about 1.
        training: The training rows, (rows,) bool.
        samples: participant_id and target.
        classes: See `voxel_baselines`, also for what is returned.
        seed: Seed of the cross-validation.
    """
    people, targets = (samples[name].to_numpy()[training] for name in ("participant_id", "target"))
    targets = targets.astype(int if classes else float)
    # With few people a fold may be empty.
    folds = [fold for fold in _folds(people, targets, classes, seed) if len(fold[1])]
    if classes:
        return _classification(model, kernel, training, targets, folds, classes)
    return _regression(model, kernel, training, targets, folds)


def kernel_of_fit(gram: np.ndarray, whole: np.ndarray, training: np.ndarray) -> np.ndarray:
    """`gram_of_fold`, divided by the mean of its diagonal, so that the strengths suit any grid."""
    own = gram if np.array_equal(training, whole) else gram_of_fold(gram, whole, training)
    return own / max(float(np.diag(own[training]).mean()), 1e-12)


def gram_of_fold(gram: np.ndarray, whole: np.ndarray, training: np.ndarray) -> np.ndarray:
    """`voxel_gram` of the rows ``training``, computed from that of the rows ``whole`` without reading a volume.

    Both are (rows,) bool. The volumes are centred on the mean of the fold's training rows instead of the mean of all. Raises
    ValueError where ``whole`` lacks one of the rows.
    """
    if (training & ~whole).any():
        raise ValueError("a fold has training rows that the products were not computed for.")
    own = gram[:, training[whole]]
    return KernelCenterer().fit(own[training]).transform(own)


def voxel_gram(samples: pd.DataFrame, images: Images, training: np.ndarray) -> np.ndarray:
    """Products of every volume with every training volume, (rows, training rows) float64, centred on the training mean.

    Only some volumes are in memory at a time, whatever their number.
    """
    voxels = int(np.prod(images(samples.iloc[:1]).shape[1:]))
    size = max(CHUNK_BYTES // voxels, 1)
    fitted = np.flatnonzero(training)
    others = np.flatnonzero(~training)
    fitted_chunks, other_chunks = ([rows[chunk] for chunk in _chunks(len(rows), size)] for rows in (fitted, others))

    def read(rows: np.ndarray) -> np.ndarray:
        return images(samples.iloc[rows]).reshape(len(rows), voxels)

    mean = np.zeros(voxels)
    for rows in fitted_chunks:
        volumes = read(rows)
        for block in gen_batches(voxels, BLOCK_VOXELS):
            mean[block] += volumes[:, block].sum(axis=0, dtype=np.int64)
    mean = (mean / len(fitted)).astype(np.float32)

    gram = np.zeros((len(samples), len(fitted)))
    start = 0
    for number, columns in enumerate(fitted_chunks):
        right = read(columns)
        place = slice(start, start + len(columns))
        start += len(columns)
        for rows in [*fitted_chunks[number:], *other_chunks]:
            left = right if rows is columns else read(rows)
            gram[rows, place] = _products(left, right, mean)
    square = np.tril(gram[fitted])  # only the lower half of this symmetric matrix was computed
    gram[fitted] = square + np.tril(square, -1).T
    return gram


def ridge(kernel: np.ndarray, targets: np.ndarray, tested: np.ndarray, strength: float) -> np.ndarray:
    """Ridge regression with an intercept; equals scikit-learn's Ridge on the voxels with ``alpha=strength``.

    Fitted to ``kernel`` (n, n) and ``targets`` (n,); returns values (m,) for ``tested`` (m, n).
    """
    centring = KernelCenterer().fit(kernel)
    model = KernelRidge(alpha=strength, kernel="precomputed")
    model.fit(centring.transform(kernel), targets - targets.mean())
    return model.predict(centring.transform(tested)) + targets.mean()


def _svm_regression(kernel: np.ndarray, targets: np.ndarray, tested: np.ndarray, strength: float) -> np.ndarray:
    mean, scale = targets.mean(), targets.std() or 1.0
    model = SVR(kernel="precomputed", C=1 / strength).fit(kernel, (targets - mean) / scale)
    return model.predict(tested) * scale + mean


def svm_decision(kernel: np.ndarray, signs: np.ndarray, tested: np.ndarray, strength: float) -> np.ndarray:
    if len(set(signs)) < 2:
        return np.zeros(len(tested))  # a fold of very few participants may have one class
    model = SVC(kernel="precomputed", C=1 / strength, class_weight="balanced")
    return model.fit(kernel, signs).decision_function(tested)


def _regression(fit: Fit, gram: np.ndarray, training: np.ndarray, targets: np.ndarray, folds: list) -> np.ndarray:
    kernel = gram[training]
    tried = [_cross_validated(fit, kernel, targets, folds, strength) for strength in STRENGTHS]
    best = int(np.argmin([((values - targets) ** 2).mean() for values in tried]))
    return fit(kernel, targets, gram, STRENGTHS[best])


def _classification(
    fit: Fit, gram: np.ndarray, training: np.ndarray, codes: np.ndarray, folds: list, classes: int
) -> np.ndarray:
    kernel = gram[training]
    columns = []
    for code in [1] if classes == 2 else range(classes):
        positive = codes == code
        signs = np.where(positive, 1.0, -1.0)
        tried = [_cross_validated(fit, kernel, signs, folds, strength) for strength in STRENGTHS]
        best = int(np.argmax([roc_auc_score(positive, values) for values in tried]))
        decisions = fit(kernel, signs, gram, STRENGTHS[best])
        columns.append(_platt(tried[best], positive, decisions))
    if classes == 2:
        return columns[0]
    stacked = np.stack(columns, axis=1)
    return stacked / stacked.sum(axis=1, keepdims=True)


def _cross_validated(fit: Fit, kernel: np.ndarray, targets: np.ndarray, folds: list, strength: float) -> np.ndarray:
    values = np.empty(len(targets))
    for fitted, tested in folds:
        values[tested] = fit(kernel[np.ix_(fitted, fitted)], targets[fitted], kernel[np.ix_(tested, fitted)], strength)
    return values


def _platt(cross_validated: np.ndarray, positive: np.ndarray, decisions: np.ndarray) -> np.ndarray:
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    model.fit(cross_validated[:, None], positive)
    if model[-1].coef_[0, 0] <= 0:  # not better than chance in the cross-validation
        return np.full(len(decisions), 0.5)
    return model.predict_proba(decisions[:, None])[:, 1]


def _folds(people: np.ndarray, targets: np.ndarray, classes: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if not classes:
        count = min(FOLDS, len(set(people)))
        return GroupKFold(count, shuffle=True, random_state=seed).split(people, groups=people)
    smallest = min(_participants_by_class(people, targets))
    splitter = StratifiedGroupKFold(min(FOLDS, smallest), shuffle=True, random_state=seed)
    return splitter.split(people, targets.astype(int), groups=people)


def _fault(people: np.ndarray, targets: np.ndarray, classes: int) -> str:
    count = len(set(people))
    if count < FEWEST_PARTICIPANTS:
        return f"The training scans are of {count} participant(s); a fit of voxels needs {FEWEST_PARTICIPANTS}."
    if classes:
        by_class = _participants_by_class(people, targets)
        if len(by_class) < classes or min(by_class) < FEWEST_OF_A_CLASS:
            return (
                f"A class has fewer than {FEWEST_OF_A_CLASS} participants among the training scans; a fit of voxels, which is "
                "validated on participants that it was not fitted on, needs as many of each."
            )
    return ""


def _participants_by_class(people: np.ndarray, targets: np.ndarray) -> list[int]:
    return [len(set(people[targets == value])) for value in np.unique(targets)]


def _chunks(rows: int, size: int) -> Iterator[slice]:
    return gen_batches(rows, size) if rows else iter(())


def _products(left: np.ndarray, right: np.ndarray, mean: np.ndarray) -> np.ndarray:
    products = np.zeros((len(left), len(right)))
    for block in gen_batches(len(mean), BLOCK_VOXELS):
        centred = right[:, block].astype(np.float32) - mean[block]
        other = centred if left is right else left[:, block].astype(np.float32) - mean[block]
        products += other @ centred.T
    return products
