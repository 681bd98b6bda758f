"""The methods text's paragraphs on evaluation and software: a sentence for each table that the evaluation left."""

from collections.abc import Iterator

from neurocohort.evaluation import classification_details
from neurocohort.evaluation.brain_age import CORRECTED
from neurocohort.evaluation.details import OUT_OF_FOLD
from neurocohort.evaluation.shift import EVERY_SITE
from neurocohort.report import labels
from neurocohort.report.evaluations import evaluations_sentence
from neurocohort.report.methods_facts import Experiment, Facts, listed, together

METRIC_WORDS = {
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "r2": "coefficient of determination",
    "pearson_r": "Pearson's correlation",
    "bias": "mean of predicted minus true",
    "bias_slope": "its slope on the true value",
    "auc": "area under the ROC curve (AUC)",
    "auc_macro": "mean over the classes of the AUC of one against the rest",
    "accuracy": "accuracy",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
    "brier": "Brier score",
    "dice": "Dice coefficient [@dice1945]",
    "hd95_mm": "95th percentile of the distance between surfaces [@huttenlocher1993]",
    "assd_mm": "average symmetric surface distance",
    "surface_dice_1mm": "surface Dice at 1 mm [@nikolov2021]",
}
SOFTWARE = (  # package, name, citation
    ("snakemake", "Snakemake", " [@molder2021]"),
    ("torch", "PyTorch", " [@paszke2019]"),
    ("monai", "MONAI", " [@cardoso2022]"),
    ("simpleitk", "SimpleITK", " [@lowekamp2013]"),
    ("nibabel", "NiBabel", ""),
    ("scikit-learn", "scikit-learn", " [@pedregosa2011]"),
    ("scipy", "SciPy", " [@virtanen2020]"),
    ("numpy", "NumPy", " [@harris2020]"),
    ("pandas", "pandas", ""),
)
EXTRACTORS = {"deepbet": ("deepbet", "deepbet"), "synthstrip": ("nipreps-synthstrip", "nipreps-synthstrip")}


def evaluation_sentences(facts: Facts) -> Iterator[str]:
    """What was measured, on whom, and how its uncertainty was found."""
    judged = {one.title: one for one in facts.experiments.values() if one.metrics is not None}
    if not judged:
        return
    external = [one for one in judged.values() if one.settings.get("external")]
    tested = "held-out participants" + (
        " and on those of external cohorts, on whom the experiment did not train" if external else ""
    )
    folded = [one for one in judged.values() if _settings(one, OUT_OF_FOLD) is not None]
    yield f"Results were computed on the {tested}{'' if folded else '; validation scans are not among them'}."
    if folded:
        yield (
            "With cross-validation, they were also computed on the validation scans of all folds, each scan predicted by the "
            "networks of its fold, and are given apart."
        )
    yield from together({title: _metrics(one) for title, one in judged.items()})
    yield from _intervals(facts, list(judged.values()))
    yield from together({title: _groups(one) for title, one in judged.items()})
    for sentence in (
        _comparisons,
        _thresholds,
        _calibration,
        _curves,
        _age_matched,
        _corrected,
        _out_of_fold,
        _external,
        _volumes,
        _spread,
        _shift,
    ):
        yield from together({title: sentence(one) for title, one in judged.items()})
    for experiment in facts.experiments.values():
        yield from _saliency(experiment)
    evaluated = {one.title: evaluations_sentence(one.evaluations, one.settings["target"]) for one in judged.values()}
    yield from together({title: f"{sentence[:1].lower()}{sentence[1:]}" for title, sentence in evaluated.items()})


def software_sentences(facts: Facts) -> Iterator[str]:
    """The programs and their versions, where they are known."""
    versions = facts.versions
    named = list(SOFTWARE)
    extractor = EXTRACTORS.get(facts.block("preprocessing").get("brain_extraction", ""))
    if extractor and not all(one.settings.get("skull_stripped") for one in facts.cohorts.values()):
        named.append((*extractor, ""))
    if facts.block("preprocessing").get("registration") == "deformable":
        named.append(("picsl-greedy", "picsl-greedy", ""))
    told = [f"{name} {versions[package]}{citation}" for package, name, citation in named if versions.get(package)]
    if told:
        yield f"The analysis ran as the Snakemake workflow neurocohort, with {listed(told)}."
        yield (
            "These are the versions in the environment that made the report; those of all packages, the commit, the "
            "configuration and the hashes of data and split are in provenance.json."
        )
        if other := _trained_with(facts):
            yield f"Networks were trained with PyTorch {listed(other)}."
    seeds = _seeds(facts)
    if seeds:
        yield f"Random numbers followed from seeds: {seeds}."


def _trained_with(facts: Facts) -> list[str]:
    """The versions of PyTorch that trained, where one of them isn't the one in the report's environment."""
    found = dict.fromkeys(
        run["torch"] for one in facts.experiments.values() for run in one.runs.values() if run.get("torch")
    )
    return list(found) if set(found) - {facts.versions.get("torch")} else []


def _metrics(one: Experiment) -> str:
    names = [METRIC_WORDS.get(name, labels.metric(name).name) for name in dict.fromkeys(one.metrics["metric"])]
    per = ", the mean over tissues and scans, and by tissue" if one.task == "segmentation" else ""
    threshold = ""
    if {"auc", "balanced_accuracy"} <= set(one.metrics["metric"]):
        threshold = " (at a probability of 0.5)"
    told = listed(names).replace("balanced accuracy", f"balanced accuracy{threshold}", 1)
    return f"results were measured by {told}{per}."


def _intervals(facts: Facts, judged: list[Experiment]) -> Iterator[str]:
    settings = facts.block("evaluation")
    methods: dict[str, int] = {}
    for one in judged:
        if "interval" in one.metrics:
            for method, count in one.metrics["interval"].value_counts().items():
                methods[method] = methods.get(method, 0) + int(count)
    if settings:
        strata = (
            " (of a classification, each class apart)" if any(one.task == "classification" for one in judged) else ""
        )
        yield (
            f"95 % confidence intervals came from {settings['resamples']:,} resamples of participants with all their "
            f"scans{strata} (seed {settings['seed']}): bias-corrected and accelerated [@efron1987], or the "
            "percentile interval "
            "where that degenerates, both with percentiles expanded for the number of participants [@hesterberg2015]."
        )
    names = {"bca": "bias-corrected and accelerated", "percentile": "percentile", "none": "missing (not defined)"}
    names["newcombe"] = (
        "Newcombe's score-type interval of an AUC of 0 or 1 [@newcombe2006], which resampling can't give"
    )
    if methods:
        told = listed(
            f"{methods[name]:,} {'is' if methods[name] == 1 else 'are'} {words}"
            for name, words in names.items()
            if name in methods
        )
        yield f"Of the {sum(methods.values()):,} intervals in the tables of metrics, {told}."


def _groups(one: Experiment) -> str:
    kinds = dict.fromkeys(group.partition("=")[0] for group in one.metrics["group"].astype(str) if "=" in group)
    words = {"age": "age band of 20 years"}
    told = listed(words.get(kind, kind) for kind in kinds)
    return f"results were also computed by {told}, in groups of three participants or more." if told else ""


def _comparisons(one: Experiment) -> str:
    if "comparisons" not in one.tables:
        return ""
    return (
        "the difference between the network and each baseline was resampled on the same participants for both (a "
        "paired "
        "bootstrap); the best baseline was chosen on the rows that it is compared on."
    )


def _thresholds(one: Experiment) -> str:
    found = _settings(one, classification_details.AT_THRESHOLD)
    if found is None:
        return ""
    notes = found.loc[(found["model"] == "network") & (found["group"] == "all"), "note"].dropna()
    note = str(notes.iloc[0]) if len(notes) else ""
    chosen = (
        "sensitivity, specificity, predictive values and balanced accuracy were computed at each model's threshold; proportions "
        "have Wilson's interval [@wilson1927]."
    )
    if "Youden" in note:
        note = note.replace("Youden's index", "Youden's index [@youden1950]", 1)
    return f"{chosen} For the network: {note[:1].lower()}{note[1:]}" if note else chosen


def _calibration(one: Experiment) -> str:
    if "details" not in one.tables or not (one.tables["details"]["metric"] == "calibration_slope").any():
        return ""
    return (
        "calibration was measured by the intercept [@vancalster2019] and slope [@cox1958] of a logistic "
        "recalibration of the "
        "predicted probabilities."
    )


def _curves(one: Experiment) -> str:
    if "curves" not in one.tables:
        return ""
    words = {
        "roc": "ROC",
        "pr": "precision–recall",
        "decision": "decision [@vickers2006]",
        "reliability": "reliability",
    }
    kinds = [words.get(kind, kind) for kind in dict.fromkeys(one.tables["curves"]["curve"])]
    return (
        f"{listed(kinds)} curves were computed; their bands are pointwise 95 % percentiles over resamples (of the "
        "reliability curve, Wilson's intervals)."
    )


def _age_matched(one: Experiment) -> str:
    if "details" not in one.tables:
        return ""
    groups = one.tables["details"]["group"].astype(str)
    told = []
    if (groups == "age-matched").any():
        years = f"{classification_details.CALIPER_YEARS:g}"
        told.append(
            f"on as many controls as cases, paired by age to within {years} years by optimal matching [@rosenbaum1989]"
        )
    if groups.str.startswith("cdr=").any():
        told.append("for the cases of each clinical dementia rating against all controls")
    return f"results were computed apart {listed(told)}." if told else ""


def _corrected(one: Experiment) -> str:
    if _settings(one, CORRECTED) is None:
        return ""
    return (
        "predictions corrected for regression to the mean [@delange2020], with a line fitted on the validation "
        "scans, are given apart: they use the true value and are no measure of accuracy."
    )


def _out_of_fold(one: Experiment) -> str:
    """Of thresholds and bias lines with cross-validation: what they were fitted on is not what they are applied to."""
    kinds = {classification_details.AT_THRESHOLD: "thresholds", CORRECTED: "lines"}
    there = [words for setting, words in kinds.items() if _settings(one, setting) is not None]
    if not one.folds or not there:
        return ""
    return (
        f"{listed(there)} were fitted on predictions out of fold, each of the networks of one fold, and applied to the mean over "
        "all of them."
    )


def _external(one: Experiment) -> str:
    if "details" not in one.tables or one.task != "regression":
        return ""
    groups = set(one.tables["details"]["group"].astype(str))
    words = {
        "healthy": "participants rated 0 for dementia or not rated",
        "shared age range": "the ages that were trained on",
        "healthy, shared age range": "both",
    }
    told = [text for group, text in words.items() if group in groups]
    return f"external results were also computed restricted to {listed(told)}." if told else ""


def _volumes(one: Experiment) -> str:
    if _settings(one, "volumes") is None:
        return ""
    return (
        "predicted and reference volumes in template space were compared by the mean difference and the limits of agreement "
        "[@bland1986], and "
        "predictions that lack a tissue of their reference were counted."
    )


def _spread(one: Experiment) -> str:
    if "spread" not in one.tables or one.tables["spread"]["members"].max() < 2:
        return ""
    return (
        f"each of the {int(one.tables['spread']['members'].max())} networks in the mean was also judged by itself, for their "
        "spread."
    )


def _shift(one: Experiment) -> str:
    if "shift" not in one.tables:
        return ""
    places = one.tables["shift"][["cohort", "site"]].drop_duplicates()
    if len(places) < 2:
        return ""
    of_sites = " and site" if (places["site"] != EVERY_SITE).any() else ""
    return (
        f"the headline metric was computed for each tested cohort{of_sites}, with what the network had been trained on."
    )


def _saliency(one: Experiment) -> Iterator[str]:
    found = one.saliency
    if not found or "method" not in found:
        return
    method = str(found["method"])
    citation = (
        " [@selvaraju2017]" if "grad" in method.lower() else " [@zeiler2014]" if "occlu" in method.lower() else ""
    )
    scans = labels.counted(int(found["scans"]), "scan") if "scans" in found else "the scans"
    yield (
        f"For {one.title}, saliency ({method}{citation}) was averaged over {scans} in template space, beside the "
        "same with random "
        "weights [@adebayo2018]."
    )


def _settings(one: Experiment, setting: str):
    """The rows of details.tsv with this setting; None where there are none."""
    if "details" not in one.tables:
        return None
    rows = one.tables["details"][one.tables["details"]["setting"] == setting]
    return None if rows.empty else rows


def _seeds(facts: Facts) -> str:
    told = []
    blocks = {"preprocessing": "preprocessing", "split": "split", "evaluation": "resampling", "saliency": "saliency"}
    for block, words in blocks.items():
        if "seed" in facts.block(block):
            told.append(f"{words} {facts.block(block)['seed']}")
    for one in facts.experiments.values():
        if one.training.get("seeds"):
            told.append(f"training of {one.title} {listed(one.training['seeds'])}")
    return ", ".join(told)
