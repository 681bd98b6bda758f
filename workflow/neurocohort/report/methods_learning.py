"""The methods text's paragraphs on networks, training, baselines and controls: what run.json and the tables say ran, in the
words of what learning/ and evaluation/ do. (Constants of modules that import torch stand here again; a test holds them
against each other.)"""

from collections.abc import Callable, Iterator

from neurocohort.evaluation import voxel_baselines
from neurocohort.learning.architectures import ARCHITECTURES
from neurocohort.learning.constants import (
    CALM_MOMENTUM,
    FAST_MOMENTUM,
    ONE_CYCLE_START,
    SOFT_BINS,
    VALIDATION_MEMORY,
    WINDOW_OVERLAP,
)
from neurocohort.report import labels
from neurocohort.report.methods_facts import Experiment, Facts, listed, plain_number, times, together
from neurocohort.report.networks import Networks, networks_sentence
from neurocohort.study.members import PERMUTATIONS

NETWORKS = {
    "sfcn": "the simple fully convolutional network (SFCN) [@peng2021]",
    "densenet121": "a three-dimensional DenseNet-121 [@huang2017]",
    "resnet18": "a three-dimensional ResNet-18 [@he2016]",
    "unet": "a U-Net with residual units [@kerfoot2019]",
    "dynunet": "MONAI's DynUNet, after nnU-Net [@isensee2021]",
    "segresnet": "MONAI's SegResNet [@myronenko2019]",
}
LEARNED_NOTHING = {  # how it is measured, by task
    "regression": "A network counts as one that learned nothing where the standard deviation of its predictions of the "
    "validation scans is below {limit} of that of the true values.",
    "classification": "A network counts as one that learned nothing where the standard deviation of its probabilities of the "
    "validation scans is below {limit} of 0.5, the largest possible.",
    "segmentation": "A network counts as one that learned nothing where it finds fewer than {limit} of the tissues of the "
    "validation scans.",
}
LINEAR = {"regression": "ridge regression", "classification": "logistic regression with classes of equal weight"}
EXPECTED = {
    "regression": ("mean", "age_sex", "volumes", "voxel_ridge", "voxel_svm"),
    "classification": ("majority", "age_sex", "volumes", "voxel_ridge", "voxel_svm"),
    "segmentation": ("atlas",),
}
BASELINE_NAMES = {
    "age_sex": "age and sex",
    "volumes": "tissue volumes",
    "voxel_ridge": "ridge regression on voxels",
    "voxel_svm": "support vector machine on voxels",
}


def training_sentences(facts: Facts) -> Iterator[str]:
    """The networks, their losses, how they were trained, and which epoch was kept."""
    trained = {one.title: one for one in facts.experiments.values() if one.runs}
    if not trained:
        return
    for experiment in trained.values():
        yield _network(experiment, facts)
    first = {title: next(iter(one.runs.values())) for title, one in trained.items()}
    settings = {title: run["settings"] for title, run in first.items() if "settings" in run}
    for sentence in (_patches, _optimiser, _stopping, _kept, _augmentation):
        yield from together({title: sentence(own) for title, own in settings.items()})
    if settings:
        yield (
            "Inputs were standardised with the mean and standard deviation of the voxels inside the brain of the training "
            "scans, and of no others."
        )
    for experiment in trained.values():
        yield from _transfer(experiment, facts)
        yield from _sweep(experiment)
        yield from _epochs(experiment)
        yield from _learned(experiment)
    yield from together({title: _machine(one) for title, one in trained.items()})


def baseline_sentences(facts: Facts) -> Iterator[str]:
    """The baselines that were fitted, those that could not be, and the controls."""
    fitted = {one.title: one for one in facts.experiments.values() if one.baselines is not None}
    for one in fitted.values():
        yield _baselines(one, list(dict.fromkeys(one.baselines["model"])), facts)
        yield from _without_volumes(one, facts)
    voxels = [one for one in fitted.values() if one.baselines["model"].isin(["voxel_ridge", "voxel_svm"]).any()]
    if voxels:
        strengths = voxel_baselines.STRENGTHS
        yield (
            f"The strength of the voxel models' regularisation was chosen from {len(strengths)} values between "
            f"{strengths.min():g} and {strengths.max():g} (relative to the mean of the kernel's diagonal) by "
            "cross-validation "
            f"within the participants of each fit ({voxel_baselines.FOLDS} folds, or fewer where a class had fewer "
            "participants)"
            + (
                ", and decision values of a classification became probabilities by a logistic fit on the cross-validated ones "
                "[@platt1999]."
                if any(one.task == "classification" for one in voxels)
                else "."
            )
        )
    if any(one.task != "segmentation" for one in fitted.values()):
        yield (
            "The fits were scikit-learn's [@pedregosa2011]; where an age, sex or volume was missing, it took the "
            "training mean."
        )
    for experiment in facts.experiments.values():
        if experiment.control and experiment.control.get("sentence"):
            yield (
                f"As a control, the training of {experiment.title} was repeated on {PERMUTATIONS} permutations of "
                "the targets of "
                f"the training and validation participants. {experiment.control['sentence']}"
            )


def _network(experiment: Experiment, facts: Facts) -> str:
    run = next(iter(experiment.runs.values()))
    settings = run.get("settings") or {}
    name = settings.get("network") or (experiment.settings.get("network") or {}).get("name", "")
    words = [f"For {experiment.title}, {NETWORKS.get(name, name)}"]
    details = []
    if settings.get("channels"):
        details.append(f"{listed(settings['channels'])} channels")
    if name in ARCHITECTURES and ARCHITECTURES[name].has_norm and settings.get("norm") == "group":
        details.append("group instead of batch normalisation")
    if settings.get("dropout") and name in ARCHITECTURES and ARCHITECTURES[name].has_dropout:
        details.append(f"dropout of {plain_number(settings['dropout'])}")
    if "parameters" in run:
        details.append(f"{run['parameters']:,} parameters")
    if details:
        words.append(f"({'; '.join(details)})")
    shape = facts.block("preprocessing").get("shape")
    modalities = settings.get("modalities") or experiment.settings.get("modalities") or []
    if shape and modalities:
        words.append(f"took {listed(modalities)} volumes of {times(shape)} voxels")
    else:
        words.append("was used")
    return f"{' '.join(words)}{_loss([one.get('task') or {} for one in experiment.runs.values()])}."


def _over_runs(tasks: list[dict], name: str, written: Callable[[float], str]) -> str:
    """A constant of the task over the networks: one value, or its range where each fold has its own."""
    values = sorted(float(task[name]) for task in tasks if name in task)
    low, high = written(values[0]), written(values[-1])
    return low if low == high else f"{low}–{high}"


def _loss(tasks: list[dict]) -> str:
    task = tasks[0]
    kind = task.get("kind")
    if kind == "regression" and task.get("soft_bins"):
        low, high = (_over_runs(tasks, name, lambda value: plain_number(round(value, 1))) for name in ("low", "high"))
        return (
            f" and predicted the mean of a distribution over {SOFT_BINS} bins between {low} and {high}, learned with the "
            "Kullback–Leibler divergence from a Gaussian one bin wide around the true value"
        )
    if kind == "regression":
        mean, scale = (_over_runs(tasks, name, lambda value: f"{value:.1f}") for name in ("mean", "scale"))
        return (
            " and predicted one value, learned with the squared error of the target standardised by the training "
            "part's mean "
            f"({mean}) and standard deviation ({scale})"
        )
    if kind == "classification" and task.get("classes", 2) == 2:
        return (
            " and predicted the probability of the positive class, learned with the binary cross-entropy, positive "
            "training scans "
            f"weighted by {_over_runs(tasks, 'positive_weight', lambda value: plain_number(round(value, 3)))} so that the "
            "classes had equal weight"
        )
    if kind == "classification":
        return (
            f" and predicted the probabilities of {task['classes']} classes, learned with the cross-entropy, the "
            "classes with equal weight"
        )
    if kind == "segmentation":
        return (
            " and predicted background, cerebrospinal fluid, grey and white matter, learned with the sum of the "
            "soft Dice loss "
            "of the three tissues [@milletari2016] and the cross-entropy"
        )
    return ""


def _patches(settings: dict) -> str:
    if not settings.get("patch"):
        return ""
    return (
        f"the network learned from patches of {times(settings['patch'])} voxels around random voxels of the brain "
        "and was applied "
        f"in windows of that size that overlap by {_percent(WINDOW_OVERLAP)} and are weighted by a Gaussian."
    )


def _optimiser(settings: dict) -> str:
    if settings["schedule"] == "one_cycle":
        calm, fast = CALM_MOMENTUM, FAST_MOMENTUM
        rate = (
            f"one cycle [@smith2019] up to {plain_number(settings['learning_rate'])}, rising from a {ONE_CYCLE_START}th "
            "of it over the "
            f"first {_percent(settings['warm_up'])} of the steps, with the first beta running from {calm} to {fast} "
            "and back"
        )
    else:
        rate = (
            f"half a cosine down from {plain_number(settings['learning_rate'])} after a linear rise over the first "
            f"{_percent(settings['warm_up'])} of the steps"
        )
    return (
        "the weights were optimised by AdamW [@loshchilov2019] (weight decay "
        f"{plain_number(settings['weight_decay'])}, gradient norm "
        f"clipped at {plain_number(settings['gradient_clip'])}) in batches of at most {settings['batch_size']}, the "
        "learning rate "
        f"following {rate}."
    )


def _percent(share: float) -> str:
    return f"{plain_number(round(100 * share, 6))} %"


def _stopping(settings: dict) -> str:
    if not settings.get("patience"):
        return ""
    return f"training stopped after {labels.counted(settings['patience'], 'epoch')} without a better epoch."


def _kept(settings: dict) -> str:
    """Which epoch's weights were kept."""
    window = min(VALIDATION_MEMORY, settings["epochs"])
    keep = settings.get("keep", "best")
    if keep == "averaged":
        return f"the weights kept were the mean of those after each of the last {window} epochs."
    if keep == "last":
        return "the weights kept were those of the last epoch."
    loss = "validation loss"
    if settings["task"] == "classification":
        loss = "validation loss after a temperature and an intercept were fitted to the same scans [@guo2017]"
        if settings.get("classes", 2) > 2:
            loss = "validation loss after a temperature was fitted to the same scans [@guo2017]"
    over = f", averaged over it and the {window - 1} epochs before" if window > 1 else ""
    return f"the weights kept were those of the epoch with the smallest {loss}{over}."


def _augmentation(settings: dict) -> str:
    limits = settings.get("augmentation") or {}
    movement = [
        (limits.get("rotation_degrees"), "rotation by up to {}° about each axis"),
        (100 * limits.get("shift", 0), "shift by up to {} % of the field of view"),
        (100 * limits.get("scale", 0), "scaling by up to {} %"),
    ]
    moved = [words.format(plain_number(round(value, 6))) for value, words in movement if value]
    others = [
        (limits.get("log_gamma"), "a change of contrast (exponent up to e to the power ±{})"),
        (limits.get("blur_voxels"), "Gaussian blur (standard deviation up to {} voxels)"),
        (limits.get("bias_field"), "a smooth bias field (logarithm up to ±{})"),
        (limits.get("noise"), "Gaussian noise (standard deviation up to {} of that of the intensities)"),
    ]
    changes = ["left and right exchanged"] if limits.get("flip") else []
    changes += [f"movement ({listed(moved)})"] if moved else []
    changes += [words.format(plain_number(value)) for value, words in others if value]
    if not changes:
        return "training scans were not augmented."
    return (
        f"training scans were augmented in every epoch, each of the following applied to half of them at random: "
        f"{'; '.join(changes)}."
    )


def _transfer(experiment: Experiment, facts: Facts) -> Iterator[str]:
    transfer = experiment.settings.get("transfer")
    if not transfer:
        return
    weights = transfer["weights"]
    origin = f"the experiment {labels.in_text(weights)}" if weights in facts.experiments else "a given file"
    if weights in facts.experiments and experiment.folds and facts.experiments[weights].folds:
        origin += ", each fold from the weights of the same fold"
    told = (
        f"The training of {experiment.title} started from the weights of {origin}, where name and shape of a tensor "
        "agreed"
    )
    if transfer.get("frozen_epochs"):
        told += f"; for the first {labels.counted(transfer['frozen_epochs'], 'epoch')} the last layer alone learned"
    if transfer.get("thaw_epochs"):
        told += f"; then one more stage learned every {labels.counted(transfer['thaw_epochs'], 'epoch')}"
    yield f"{told}."


def _sweep(experiment: Experiment) -> Iterator[str]:
    if experiment.sweep is not None:
        chosen = experiment.sweep[experiment.sweep["chosen"] == 1].iloc[0]
        keys = experiment.sweep.columns.drop(["draw", "validation_loss", "criterion", "chosen"])
        values = listed(f"{key} {chosen[key]}" for key in keys)
        yield (
            f"The settings of {experiment.title} were chosen from {len(experiment.sweep)} draws by the "
            f"criterion on the validation scans: {values}."
        )


def _epochs(experiment: Experiment) -> Iterator[str]:
    """How long each member trained, and which epoch was kept."""
    runs = list(experiment.runs.values())
    if not runs or not any(run.get("best_epoch") for run in runs):
        return
    start = "" if experiment.settings.get("transfer") else "from random weights "
    seeds = experiment.training.get("seeds") or [run["seed"] for run in runs if "seed" in run]
    told = f"seed{'s' if len(seeds) > 1 else ''} {listed(seeds)}"
    epochs = _span([run["epochs_run"] for run in runs])
    chosen = (runs[0].get("settings") or {}).get("keep", "best") == "best"
    kept = sorted({run["best_epoch"] for run in runs if run.get("best_epoch")})
    if len(runs) == 1:
        which = f", and epoch {kept[0]} was kept" if chosen else ""
        yield f"The network of {experiment.title} was trained {start}({told}) for {epochs} epochs{which}."
        return
    members = f"{experiment.folds} folds, {told}" if experiment.folds else told
    which = (
        f"epoch {kept[0]} of each was kept" if len(kept) == 1 else f"epochs between {kept[0]} and {kept[-1]} were kept"
    )
    used = Networks(experiment.tables["networks"]).used if "networks" in experiment.tables else len(runs)
    predictions = "predictions" if experiment.task == "regression" else "probabilities"
    averaged = (
        f"those of {used if used < len(runs) else 'all of them'} were averaged"
        if used > 1
        else "those of one were used"
    )
    yield (
        f"For {experiment.title}, {len(runs)} networks were trained {start}({members}) for {epochs} epochs each"
        f"{f'; {which}' if chosen else ''}. Of their {predictions}, {averaged}."
    )


def _span(values: list[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def _learned(experiment: Experiment) -> Iterator[str]:
    """Networks that learned nothing, and what became of them."""
    if "networks" not in experiment.tables:
        return
    networks = Networks(experiment.tables["networks"])
    if sentence := networks_sentence(networks):
        yield f"For {experiment.title}: {sentence[:1].lower()}{sentence[1:]}"
    if len(networks.failed) or networks.retrained:
        yield LEARNED_NOTHING[experiment.task].format(limit=plain_number(float(networks.table["least_spread"].iloc[0])))


def _machine(experiment: Experiment) -> str:
    runs = list(experiment.runs.values())
    devices = list(dict.fromkeys(run["device"] for run in runs if run.get("device")))
    precisions = list(dict.fromkeys(run["precision"] for run in runs if run.get("precision")))
    if not devices:
        return ""
    where = listed("a CPU" if device == "cpu" else device for device in devices)
    told = f" in {listed(precisions)}" if precisions else ""
    return f"training ran on {where}{told}; predictions were computed in float32."


def _baselines(experiment: Experiment, models: list[str], facts: Facts) -> str:
    parts = "training and validation parts" if experiment.folds else "training part"
    linear, target = LINEAR.get(experiment.task, ""), experiment.settings.get("target")
    fair = [name for name in ("age", "sex") if name != target]
    words = {
        "mean": "the mean of its targets for everybody",
        "majority": "the shares of its classes for everybody",
        "atlas": "an atlas with each voxel's most frequent label",
        "age_sex": f"{linear} on age and sex",
        "volumes": f"{linear} on the shares of the three tissues, {listed(['the brain volume', *fair])}",
        "voxel_ridge": "ridge regression on all voxels",
        "voxel_svm": "a linear support vector machine on all voxels",
    }
    told = "; ".join(words.get(model, model) for model in models)
    sentence = f"The network of {experiment.title} was compared with baselines fitted on its {parts}: {told}."
    if "volumes" not in models and "volumes" in EXPECTED[experiment.task] and not _with_volumes(experiment, facts):
        models = [*models, "volumes"]  # it has a reason of its own, see _without_volumes
    absent = [
        name for name in EXPECTED[experiment.task] if name not in models and not (name == "age_sex" and len(fair) < 2)
    ]
    absent = [BASELINE_NAMES[name] for name in absent if name in BASELINE_NAMES]
    if absent:
        sentence += f" Not fitted, for the reasons in the log of the baselines: {listed(absent)}."
    if experiment.folds:
        sentence += " For the validation scans of a fold they were fitted without that fold, as the network was."
    return sentence


def _with_volumes(experiment: Experiment, facts: Facts) -> list[str]:
    """The cohorts that the experiment trains on whose scans have volumes of their own."""
    named = [facts.cohorts[name] for name in experiment.settings["cohorts"] if name in facts.cohorts]
    return [cohort.title for cohort in named if not cohort.settings.get("mni_space")]


def _without_volumes(experiment: Experiment, facts: Facts) -> Iterator[str]:
    """Where the baseline of tissue volumes leaves out a cohort, or does not exist, because scans are in MNI space."""
    if "volumes" not in EXPECTED[experiment.task]:
        return
    used = [*experiment.settings["cohorts"], *experiment.settings.get("external", [])]
    cohorts = [facts.cohorts[name] for name in used if name in facts.cohorts]
    in_space = [cohort.title for cohort in cohorts if cohort.settings.get("mni_space")]
    if not in_space:
        return
    if "volumes" in set(experiment.baselines["model"]):
        yield (
            f"The baseline of tissue volumes was neither fitted on nor applied to {listed(in_space)}, whose scans are in MNI "
            "space and have no volumes of their own."
        )
    elif not _with_volumes(experiment, facts):
        yield (
            f"There is no baseline of tissue volumes for {experiment.title}: its training scans are in MNI space and have no "
            "volumes of their own."
        )
