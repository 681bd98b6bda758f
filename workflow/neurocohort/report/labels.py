"""How names of the files appear on the page: metrics, models, parts, variables and quality numbers, and the format of numbers."""

import math
from dataclasses import dataclass
from typing import TypeGuard

from neurocohort import text as texts
from neurocohort.dataset.targets import class_names
from neurocohort.evaluation.measures import GIVEN
from neurocohort.structures import TISSUES

counted = texts.counted


@dataclass(frozen=True)
class Metric:
    """A metric's short label, its full name, its decimals, whether a higher value is better (None: neither), and its unit.

    The unit ``target`` is that of what is predicted.
    """

    label: str
    name: str
    decimals: int
    higher_is_better: bool | None
    unit: str = ""


METRICS = {
    "mae": Metric("MAE", "mean absolute error", 2, False, "target"),
    "rmse": Metric("RMSE", "root mean squared error", 2, False, "target"),
    "r2": Metric("R²", "coefficient of determination", 2, True),
    "pearson_r": Metric("Pearson r", "Pearson correlation", 2, True),
    "spearman_r": Metric("Spearman ρ", "Spearman correlation", 2, True),
    "bias": Metric("Bias", "mean of predicted minus true", 2, None, "target"),
    "retest_sd": Metric("Retest SD", "standard deviation between sessions of predicted minus true", 2, False, "target"),
    "icc": Metric("ICC(2,1)", "intraclass correlation of the predictions", 2, True),
    "icc_error": Metric("ICC(2,1) of the error", "intraclass correlation of predicted minus true", 2, None),
    "change_per_year": Metric("Change per year", "change of the prediction per year within participants", 2, None),
    "coverage": Metric("Coverage", "fraction of true values within the prediction interval or set", 3, None),
    "interval_width": Metric("Interval width", "mean width of the prediction intervals", 2, False, "target"),
    "one_class_sets": Metric("Sets of one class", "fraction of the prediction sets with one class", 3, None),
    "several_class_sets": Metric("Sets of several", "fraction of the prediction sets with several classes", 3, None),
    "empty_sets": Metric("Empty sets", "fraction of the prediction sets with no class", 3, None),
    "auc": Metric("AUC", "area under the ROC curve", 3, True),
    "bias_slope": Metric("Bias slope", "slope of predicted minus true on the true value", 2, None),
    "average_precision": Metric("Average precision", "area under the precision-recall curve", 3, True),
    "auc_macro": Metric("Macro AUC", "macro-averaged area under the ROC curve", 3, True),
    "balanced_accuracy": Metric("Balanced accuracy", "balanced accuracy", 3, True),
    "accuracy": Metric("Accuracy", "accuracy", 3, True),
    "sensitivity": Metric("Sensitivity", "sensitivity", 3, True),
    "specificity": Metric("Specificity", "specificity", 3, True),
    "ppv": Metric("PPV", "positive predictive value", 3, True),
    "npv": Metric("NPV", "negative predictive value", 3, True),
    "calibration_intercept": Metric("Calibration intercept", "calibration in the large, 0 at best", 2, None),
    "calibration_slope": Metric("Calibration slope", "calibration slope, 1 at best", 2, None),
    "age_difference": Metric("Age difference", "mean age of the cases minus that of the controls", 1, None, "years"),
    "site_balanced_accuracy": Metric("Balanced accuracy", "balanced accuracy of predicted sites", 3, None),
    "uncorrected_scans": Metric("Uncorrected scans", "scans that are not harmonised", 0, None, "scans"),
    "site_chance": Metric("Chance", "balanced accuracy by chance, 1 / number of sites", 3, None),
    "brier": Metric("Brier score", "Brier score", 3, False),
    "ece": Metric("ECE", "expected calibration error", 3, False),
    "dice": Metric("Dice", "Dice coefficient", 3, True),
    "hd95_mm": Metric("HD95 (mm)", "95th percentile of the surface distance", 2, False, "mm"),
    "assd_mm": Metric("ASSD (mm)", "average symmetric surface distance", 2, False, "mm"),
    "surface_dice_1mm": Metric("Surface Dice at 1 mm", "surface Dice at a tolerance of 1 mm", 3, True),
    "psnr": Metric("PSNR (dB)", "peak signal-to-noise ratio inside the brain", 2, True, "dB"),
    "ssim": Metric("SSIM", "structural similarity inside the brain", 3, True),
    "volume_error": Metric("Volume error", "relative volume error", 3, False),
    "volume_bias_ml": Metric("Mean difference (ml)", "mean of predicted minus reference volume", 1, None, "ml"),
    "volume_lower_ml": Metric("Lower limit (ml)", "lower limit of agreement of the volumes", 1, None, "ml"),
    "volume_upper_ml": Metric("Upper limit (ml)", "upper limit of agreement of the volumes", 1, None, "ml"),
    "volume_error_ml": Metric(
        "Mean error (ml)", "mean absolute difference of predicted and reference volume", 2, False, "ml"
    ),
    "with_structure": Metric("With structure", "scans whose reference has the structure", 0, None, "scans"),
    "without_structure": Metric("Without structure", "scans whose reference lacks the structure", 0, None, "scans"),
    "found_where_absent": Metric("Found where absent", "scans without the structure that got one", 0, False, "scans"),
    "lesion_sensitivity": Metric("Lesions found", "fraction of the lesions that are found", 3, True),
    "false_lesions": Metric("False lesions", "false lesions in a scan", 2, False),
    "change_per_unit": Metric("Change per unit", "change of the prediction per unit of the asked change", 3, None),
    "in_direction": Metric("As asked", "fraction of the changes in the asked direction", 2, None),
    "as_often_as_trained": Metric("As often", "fraction of random weights that move as asked as often", 2, None),
    "steadiness": Metric("Correlation", "correlation of asked and predicted changes through the origin", 2, None),
    "image_change": Metric("Image change", "mean absolute change of a voxel inside the brain", 2, None, "levels"),
    "voxel_error": Metric("Voxel error", "mean absolute error of a voxel inside the brain", 1, False, "levels"),
    "prediction_shift": Metric(
        "Prediction shift", "absolute difference of the predictions for reconstruction and scan", 2, False, "target"
    ),
    "identified": Metric("Same person", "fraction of images whose nearest scan is of the same person", 2, None),
    "empty_predictions": Metric("Empty predictions", "scans whose prediction lacks the tissue", 0, False, "scans"),
}

MODELS = {
    "network": "Network",
    "mean": "Training mean",
    "majority": "Majority class",
    "atlas": "Atlas",
    "volumes": "Tissue volumes",
    "age_sex": "Age and sex",
    "voxel_ridge": "Ridge on voxels",
    "voxel_svm": "Linear SVM on voxels",
    "tissue_kernel_ridge": "Kernel ridge on tissue maps",
    "grey_matter_svm": "Linear SVM on grey matter map",
    "tissue_amounts": "Amounts of tissues, age and sex",
    "brain_age_gap": "Brain-age gap, age and sex",
    "volumes_combat": "Tissue volumes, harmonised",
    "tissue_kernel_ridge_combat": "Kernel ridge on tissue maps, harmonised",
    "grey_matter_svm_combat": "Linear SVM on grey matter map, harmonised",
    "combined": "Mean of network and tissue-map model",
    "gru": "GRU",
    "transformer": "Transformer",
    "last_session": "Last session alone",
    "mixed_model": "Linear mixed model",
    "visits": "Visits alone",
}

PARTS = {
    "train": "Training",
    "validation": "Validation",
    "development": "Development",  # training and validation together, where folds divide them
    "tested-once": "Held out once",  # with test folds: everybody, by turns in training, validation and held-out
    "held-out": "Held-out",
    "external": "External",
}

COHORTS = {"ixi": "IXI", "oasis1": "OASIS-1", "all": "All cohorts"}

QUALITY = {
    "template_dice": "Template Dice",
    "mutual_information": "Mutual inform.",
    "foreground_ml": "Foreground (ml)",
    "foreground_fraction": "Foreground / image",
    "foreground_cut": "Foreground cut",
    "voxel_min_mm": "Finest voxel (mm)",
    "voxel_max_mm": "Coarsest voxel (mm)",
    "needed_x": "Needed along x",
    "needed_y": "Needed along y",
    "needed_z": "Needed along z",
    "mask_ml": "Mask (ml)",
    "mask_to_template": "Mask / template",
    "outside_template": "Outside template",
    "template_shift_mm": "Shift (mm)",
    "mask_border_cm2": "Mask cut (cm2)",
    "missing_brain": "Missing brain",
    "contrast_gm_csf": "GM - CSF",
    "contrast_wm_gm": "WM - GM",
    "head_turn_degrees": "Turn (degrees)",
    "head_stretch": "Stretch",
    "bias_field_cv": "Bias field CV",
    "registration_starts": "Starts",
    "snr_gm": "SNR GM",
    "snr_wm": "SNR WM",
    "cnr": "CNR",
    "cjv": "CJV",
    "efc": "EFC",
    "fber": "FBER",
    "inu_range": "INU range",
    "symmetry": "Symmetry",
}

# Abbreviations in names, which keep their capitals in headings and in text.
WORDS = ("AD", "ASF", "BMI", "CDR", "CN", "CSF", "eTIV", "GM", "IXI", "MCI", "MMSE", "MRI", "nWBV", "SES", "T1w", "WM")
ABBREVIATIONS = {word.lower(): word for word in WORDS}
TARGETS = {"dseg": "tissue labels"}  # variables with names that are not clear

OUTLIER_Z = 3.5  # on the robust (median and MAD) score: Iglewicz and Hoaglin 1993


def metric(name: str) -> Metric:
    """The metric's labels; an unknown one is shown under its own name with three decimals."""
    return METRICS.get(name) or Metric(name, name.replace("_", " "), 3, None)


def spaced(name: str) -> str:
    """``brain_age`` as a heading: ``Brain age``; ``cdr_stage``: ``CDR stage``."""
    words = in_text(name)
    return words if words.split(" ")[0] in ABBREVIATIONS.values() else words[:1].upper() + words[1:]


def in_text(name: str) -> str:
    """``brain_age`` within a sentence: ``brain age``; ``cdr_stage``: ``CDR stage``."""
    return " ".join(ABBREVIATIONS.get(word.lower(), word) for word in str(name).replace("_", " ").split(" "))


def target(name: str) -> str:
    """What an experiment predicts, within a sentence."""
    return TARGETS.get(str(name)) or in_text(name)


def classes(settings: dict) -> list[str]:
    """The classes of a classification in words, class 0 first: ``CDR 0`` and ``CDR 0.5/1`` of given ``classes``; of a
    variable of 0 and 1, ``no dementia`` and ``dementia``."""
    name = target(settings["target"])
    if settings.get("classes"):
        return [f"{name} {own}" for own in class_names(settings["classes"])]
    return ["female", "male"] if settings["target"] == "sex" else [f"no {name}", name]


def cohort(name: str) -> str:
    """The cohort's published name where it has one, else its name in the configuration."""
    return COHORTS.get(str(name), str(name))


def cohort_in_text(name: str) -> str:
    """The cohort's name within a sentence: ``all cohorts``, ``IXI``."""
    return "all cohorts" if str(name) == "all" else cohort(name)


def quality(name: str) -> str:
    """The heading of a quality number's column."""
    if name.startswith("volume_") and name.endswith("_ml"):
        tissue = name[len("volume_") : -len("_ml")]
        return f"{tissue.upper() if len(tissue) <= 3 else spaced(tissue)} (ml)"
    return QUALITY.get(name) or spaced(name)


def unit(target: str) -> str:
    """The unit of a regression target with a leading space, or nothing where it is not known."""
    return " years" if target == "age" else ""


def metric_unit(name: str, target: str = "") -> str:
    """The unit of a metric's value with a leading space, or nothing where it has none."""
    found = metric(name).unit
    return unit(target) if found == "target" else f" {found}" if found else ""


def model(name: str) -> str:
    """A model's name on the page: ``pyment (given)`` for predictions from elsewhere; its own where it is not known."""
    given = str(name).removeprefix(GIVEN)
    return f"{given} (given)" if given != str(name) else MODELS.get(str(name), str(name))


def group(name: str) -> str:
    """``age=20-39`` as ``age: 20-39``; other structures than the tissues aren't called tissues."""
    kind, _, value = str(name).partition("=")
    if kind == "tissue" and value not in TISSUES:
        return f"structure: {value}"
    return str(name).replace("=", ": ")


def is_number(value: object) -> TypeGuard[float]:
    """True for a finite int or float (numpy's too)."""
    try:
        return value is not None and math.isfinite(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def number(value: object, decimals: int = 2) -> str:
    """A number with a true minus sign, ``–`` where it is missing."""
    if not is_number(value):
        return "–"
    text = f"{float(value):.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def decimals_for(values: list[float]) -> int:
    """How many decimals a column of numbers of unknown scale needs, so that all have the same number of decimals."""
    size = sorted(abs(value) for value in values)[len(values) // 2] if values else 0.0
    if all(value == int(value) for value in values):
        return 0
    return 0 if size >= 200 else 1 if size >= 10 else 2 if size >= 1 else 3


def interval(low: object, high: object, decimals: int) -> str:
    """``[low, high]``, or nothing where the interval is missing."""
    if not (is_number(low) and is_number(high)):
        return ""
    return f"[{number(low, decimals)}, {number(high, decimals)}]"


def duration(seconds: object) -> str:
    """A measured time in words, ``–`` where it is missing."""
    return texts.duration(float(seconds)) if is_number(seconds) else "–"
