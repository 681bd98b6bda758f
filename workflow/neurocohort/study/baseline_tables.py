"""The predictions of the baselines as tables, for the subcommand `baselines`.

With test folds, they are fitted for each of them where its networks are trained, and predict its held-out and validation rows.
External rows are predicted by one more fit on all participants who are not external.
"""

from functools import partial

import numpy as np
import pandas as pd

from neurocohort.dataset.folds import (
    FOLDED_PARTS,
    baseline_fits,
    predicted_rows,
    test_fold_numbers,
    with_one_fit,
    with_test_fold,
)
from neurocohort.evaluation.age_gap import GAP, gap_baselines
from neurocohort.evaluation.baselines import atlases, value_baselines
from neurocohort.evaluation.harmonised_baselines import harmonised_tissues, harmonised_volumes
from neurocohort.evaluation.segmentation_details import structure_values
from neurocohort.evaluation.tissue_baselines import of_grey_matter, smoothed_features, tissue_baselines, tissue_model
from neurocohort.evaluation.voxel_baselines import Images, VoxelKernel
from neurocohort.learning.data import PackedImages
from neurocohort.learning.prediction_tables import baseline_rows, overlap_rows, reference_labels
from neurocohort.settings.evaluation import BaselineSettings
from neurocohort.structures import TISSUES


def atlas_table(samples: pd.DataFrame, packed: PackedImages, wanted: BaselineSettings) -> pd.DataFrame:
    """The table of the atlas of a segmentation: ``model``, then the columns of `overlap_rows`.

    With test folds it has no validation rows: nothing is fitted on them.
    """
    numbers = test_fold_numbers(samples)
    if numbers == [0]:
        return _atlas_rows(samples, packed, wanted, wanted.folds)
    external = samples["part"] == "external"
    tables = [
        _atlas_rows(with_one_fit(with_test_fold(samples[~external], number), wanted.folds), packed, wanted, 0)
        for number in numbers
    ]
    if external.any():
        tables.append(_atlas_rows(with_one_fit(samples, wanted.folds), packed, wanted, 0))
    return pd.concat(tables, ignore_index=True)


def value_table(
    samples: pd.DataFrame,
    qc: pd.DataFrame,
    packed: PackedImages,
    wanted: BaselineSettings,
    tissues: dict[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """The table of the baselines of a regression or classification (`baseline_rows`). Reasons for missing rows are printed.

    Args:
        samples: The experiment's samples.
        qc: Quality tables of the cohorts.
        packed: The volumes of the samples.
        wanted: The settings.
        tissues: Their `tissue_features`, if the study has tissue maps.
    """
    features = tissues or {}
    numbers = test_fold_numbers(samples)
    if numbers == [0]:
        return _value_rows(samples, qc, packed.stack_arrays, wanted, features)
    # One kernel for all test folds: reading the volumes takes most of the time.
    kernel = VoxelKernel(samples, packed.stack_arrays, samples["part"].isin(FOLDED_PARTS).to_numpy())
    tables = []
    for number in numbers:
        rows = _value_rows(with_test_fold(samples, number), qc, kernel, wanted, features)
        tables.append(rows[rows["part"] != "external"])
    if (samples["part"] == "external").any():
        own = (
            samples.assign(part=samples["part"].mask(samples["part"] == "validation", "train"))
            if wanted.folds
            else samples
        )
        rows = _value_rows(own, qc, kernel, wanted.model_copy(update={"folds": 0}), features)
        tables.append(rows[rows["part"] == "external"])
    return pd.concat(tables, ignore_index=True)


def tissue_features(samples: pd.DataFrame, maps: PackedImages, wanted: BaselineSettings) -> dict[str, np.ndarray]:
    """The smoothed tissue maps of the samples, (rows, voxels), by the name of the model that uses them.

    Args:
        samples: The experiment's samples.
        maps: Their tissue maps, in the order of `tissue_baselines.CHANNELS`.
        wanted: The settings.
    """
    features = smoothed_features(samples, maps.stack_arrays, wanted.spacing_mm)
    model = tissue_model(_classes(wanted))
    return {model: of_grey_matter(features), GAP: features} if _classes(wanted) else {model: features}


def _classes(wanted: BaselineSettings) -> int:
    return wanted.classes if wanted.task == "classification" else 0


def _atlas_rows(samples: pd.DataFrame, packed: PackedImages, wanted: BaselineSettings, folds: int) -> pd.DataFrame:
    fits = baseline_fits(samples, folds)
    rows, predicted = predicted_rows(samples, fits)
    structures = wanted.structures or TISSUES
    by_fold = atlases(fits, lambda chosen: reference_labels(samples[chosen], packed), len(structures))
    fold_of = np.sum([fit.fold * fit.predicted for fit in fits], axis=0)[predicted]
    references = reference_labels(rows, packed)
    predictions = (by_fold[fold] for fold in fold_of)
    surfaces = partial(structure_values, structures=structures, lesions=wanted.lesions or ())
    found = overlap_rows(rows, predictions, references, wanted.spacing_mm, surfaces, structures)
    found.insert(0, "model", "atlas")
    return found


def _value_rows(
    samples: pd.DataFrame,
    qc: pd.DataFrame,
    images: Images | VoxelKernel,
    wanted: BaselineSettings,
    tissues: dict[str, np.ndarray],
) -> pd.DataFrame:
    fits = baseline_fits(samples, wanted.folds)
    rows, predicted = predicted_rows(samples, fits)
    how = {"classes": _classes(wanted), "seed": wanted.seed}
    features = tissues.get(tissue_model(_classes(wanted)))
    fitted = value_baselines(samples, qc, fits, images, target=wanted.target, **how)
    if features is not None:
        fitted = fitted.joined(*tissue_baselines(samples, features, fits=fits, spacing_mm=wanted.spacing_mm, **how))
    if (whole := tissues.get(GAP)) is not None:
        fitted = fitted.joined(*gap_baselines(samples, whole, fits, target=wanted.target, **how))
    if wanted.harmonisation == "combat":
        one = harmonised_volumes(samples, qc, fits, target=wanted.target, classes=_classes(wanted))
        fitted = fitted.joined(one.predictions, one.left_out)
        if features is not None:
            one = harmonised_tissues(samples, features, fits, target=wanted.target, **how)
            fitted = fitted.joined(one.predictions, one.left_out)
    for name, reason in fitted.left_out.items():
        print(f"no baseline {name}: {reason}")
    found = baseline_rows(rows, {name: values[predicted] for name, values in fitted.predictions.items()})
    for name in fitted.predictions:
        lacking = set(rows["cohort"]) - set(found["cohort"][found["model"] == name])
        for cohort in sorted(lacking):
            print(f"no baseline {name} for {cohort}: its scans are in MNI space and have no volumes of their own.")
    return found
