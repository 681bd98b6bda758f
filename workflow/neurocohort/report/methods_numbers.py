"""Numbers and lists that the methods text states, computed from the tables of a study.

The sentences are in ``templates/methods/``. A function here returns what a template can't compute in one line.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from neurocohort.architectures import ARCHITECTURES
from neurocohort.dataset.split import EXCLUDED, PARTS
from neurocohort.evaluation import conformal, conformal_sets
from neurocohort.evaluation.classification_details import AT_THRESHOLD
from neurocohort.imaging import deformable
from neurocohort.imaging.learned_constants import needs_network
from neurocohort.report import labels, origins
from neurocohort.report.development import by_use, sides
from neurocohort.report.formats import RegionRecord, Run
from neurocohort.report.sources import Missing
from neurocohort.report.study import Cohort, Experiment, Read, Study
from neurocohort.sources.columns import DIFFUSION_MAPS
from neurocohort.text import listed, plain_number

VALUE_STEP = "with a "  # value of the target, or reference segmentation: steps of dataset/samples.py
PART_NAMES = {"train": "training", "validation": "validation", "held-out": "held-out"}
EXPECTED_BASELINES = {  # those that can be absent, with their names in a sentence
    "age_sex": "age and sex",
    "volumes": "tissue volumes",
    "voxel_ridge": "ridge regression on voxels",
    "voxel_svm": "support vector machine on voxels",
}
EXPECTED_WITH_TISSUE_MAPS = {
    "regression": {"tissue_kernel_ridge": "kernel ridge regression on tissue maps"},
    "classification": {
        "grey_matter_svm": "support vector machine on the grey matter map",
        "tissue_amounts": "amounts of the tissues",
        "brain_age_gap": "brain-age gap",
    },
}
PROGRAMS = (  # package, with its name and citation
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
EXTRACTORS = {"deepbet": "deepbet", "synthstrip": "nipreps-synthstrip"}


@dataclass(frozen=True)
class Population:
    """Counts of a cohort's scans and participants; ``ages`` in years, ``sites`` with their participants."""

    scans: int
    participants: int
    repeated: int
    ages: pd.Series
    sex_known: int
    women: int
    sites: dict[str, int]


@dataclass(frozen=True)
class Loss:
    """Scans that a step of the selection left out."""

    step: str
    scans: int


@dataclass(frozen=True)
class Flow:
    """Scans of a cohort before and after the selection for an experiment, and the participants left."""

    cohort: str
    first: int
    last: int
    participants: int
    losses: tuple[Loss, ...]


@dataclass(frozen=True)
class Coding:
    """How a cohort's data dictionary codes a target."""

    cohort: str
    levels: str


@dataclass(frozen=True)
class Use:
    """Scans and participants that an experiment used in a part."""

    part: str
    scans: int
    participants: int


@dataclass(frozen=True)
class Leaks:
    """Participants and images in more than one part; ``images`` is None where they were not compared."""

    participants: int
    images: int | None


# Data


def population(scans: pd.DataFrame) -> Population:
    """The counts of scans.tsv."""
    people = scans.drop_duplicates("participant_id")
    known = {name: people[name].dropna() if name in people else pd.Series() for name in ("age", "sex", "site")}
    return Population(
        scans=len(scans),
        participants=len(people),
        repeated=int((scans["participant_id"].value_counts() > 1).sum()),
        ages=known["age"].astype(float),
        sex_known=len(known["sex"]),
        women=int((known["sex"] == "F").sum()),
        sites=known["site"].value_counts().sort_index().to_dict(),
    )


def later_stages(exclusions: pd.DataFrame) -> dict[str, int]:
    """The scans that were excluded after ingest, by stage."""
    stages = exclusions.loc[exclusions["stage"] != "ingest", "stage"].str.replace("_", " ")
    return stages.value_counts().to_dict()


def reference_kinds(experiment: Experiment) -> dict[str, list[Cohort]]:
    """The cohorts by the origin of their reference segmentations."""
    kinds: dict[str, list[Cohort]] = {}
    for cohort in (*experiment.cohorts, *experiment.external):
        if cohort.source:
            kinds.setdefault(origins.reference_labels(cohort.settings), []).append(cohort)
    return kinds


def drawn_elsewhere(experiment: Experiment) -> bool:
    """Whether a reference segmentation was drawn on another image than the scan."""
    for cohort in (*experiment.cohorts, *experiment.external):
        scans = cohort.scans
        if not isinstance(scans, Missing) and {"dseg_path", "dseg_reference_path", "path"} <= set(scans):
            reference = scans.loc[scans["dseg_path"].notna(), ["dseg_reference_path", "path"]].dropna()
            if (reference["dseg_reference_path"] != reference["path"]).any():
                return True
    return False


def coding(experiment: Experiment) -> Coding | None:
    """How the first cohort that states it codes the target of a classification."""
    for cohort in experiment.cohorts if experiment.task == "classification" else ():
        levels = (cohort.variables.get(experiment.target) or {}).get("Levels")
        if levels:
            return Coding(cohort.title, ", ".join(f"{level}: {meaning}" for level, meaning in levels.items()))
    return None


def flows(experiment: Experiment) -> list[Flow]:
    """The selection of scans, by cohort."""
    if isinstance(experiment.flow, Missing):
        return []
    found = []
    for cohort, steps in experiment.flow.groupby("cohort", sort=False):
        lost = -steps["scans"].diff().fillna(0).astype(int)
        losses = [Loss(str(step), count) for step, count in zip(steps["step"], lost, strict=True) if count > 0]
        first, last = steps.iloc[0], steps.iloc[-1]
        found.append(Flow(str(cohort), first["scans"], last["scans"], int(last["participants"]), tuple(losses)))
    return found


def none_lacks_a_value(experiment: Experiment) -> bool:
    """Whether a step that looks for a value of the target left out no scan."""
    if isinstance(experiment.flow, Missing) or not experiment.flow["step"].astype(str).str.startswith(VALUE_STEP).any():
        return False
    return not any(loss.step.startswith(VALUE_STEP) for flow in flows(experiment) for loss in flow.losses)


# Split


def trained_cohorts(experiments: Iterable[Experiment]) -> list[Cohort]:
    """The cohorts on which any of the experiments trains."""
    return list({cohort.name: cohort for one in experiments for cohort in one.cohorts}.values())


def split_order(cohorts: list[Cohort], experiments: Iterable[Experiment]) -> list[str]:
    """The variables over which the parts are balanced, those that the cohorts have."""
    classes: dict[str, list[str]] = {}
    for cohort in cohorts:
        targets = [one.target for one in experiments if one.task == "classification" and cohort in one.cohorts]
        column = targets[0] if targets else "dementia"
        if _known([cohort.scans], column):
            classes.setdefault(column, []).append(cohort.title)
    words = [f"{column} (in {listed(titles)})" for column, titles in classes.items()]
    scans = [cohort.scans for cohort in cohorts if not isinstance(cohort.scans, Missing)]
    balanced = {"age band": "age", "site": "site", "sex": "sex"}
    return words + [word for word, column in balanced.items() if not scans or _known(scans, column)]


def part_counts(split: pd.DataFrame) -> list[str]:
    """``18 training``, ``6 validation``, ...: the participants of each part; with test folds ``5 test folds of 12 to 13``."""
    counts = split["part"].value_counts()
    excluded = [f"{counts[EXCLUDED]} excluded"] if EXCLUDED in counts else []
    if "test_fold" in split:
        sizes = split["test_fold"].dropna().value_counts()
        return [f"{len(sizes)} test folds of {span(sizes)}", *excluded]
    return [f"{counts.get(part, 0)} {PART_NAMES[part]}" for part in PARTS] + excluded


def sample_counts(experiment: Experiment) -> list[Use]:
    """Scans and participants by the part in which they were used."""
    samples = by_use(experiment.samples, experiment.folds)
    by_part = {str(part): rows for part, rows in samples.groupby("part")}
    return [
        Use(part, len(by_part[part]), len(by_part[part][["cohort", "participant_id"]].drop_duplicates()))
        for part in labels.PARTS
        if part in by_part
    ]


def leaks_of(experiments: Iterable[Experiment]) -> Leaks | None:
    """What is in more than one part of an experiment. The run itself stops where a count isn't 0."""
    tables = [one.samples for one in experiments if not isinstance(one.samples, Missing)]

    def crossing(column: str) -> int:
        return sum(int((sides(table).groupby(table[column]).nunique() > 1).sum()) for table in tables)

    compared = all("voxels_sha256" in table for table in tables)
    return Leaks(crossing("participant_id"), crossing("voxels_sha256") if compared else None) if tables else None


def _known(tables: list[Read], column: str) -> bool:
    return any(not isinstance(one, Missing) and column in one and one[column].notna().any() for one in tables)


# Preprocessing


def start_counts(cohorts: list[Cohort]) -> pd.Series:
    """How many starts of the registration each scan needed, where the quality table states it."""
    tables = [cohort.quality for cohort in cohorts if not isinstance(cohort.quality, Missing)]
    starts = [table["registration_starts"].dropna() for table in tables if "registration_starts" in table]
    return pd.concat(starts) if starts else pd.Series(dtype=float)


def correlation_window() -> list[int]:
    """The sides in voxels of the window in which the deformable registration correlates."""
    radii = deformable.METRIC.split()[1].split("x")
    return [2 * int(radius) + 1 for radius in radii]


def extra_modalities(cohorts: Iterable[Cohort]) -> list[str]:
    """The modalities in addition to the first one that are images of their own."""
    return [name for name in _beyond_the_first(cohorts) if name not in DIFFUSION_MAPS]


def diffusion_maps(cohorts: Iterable[Cohort]) -> list[str]:
    """The modalities that are computed from diffusion-weighted images."""
    return [name for name in _beyond_the_first(cohorts) if name in DIFFUSION_MAPS]


def _beyond_the_first(cohorts: Iterable[Cohort]) -> list[str]:
    return list(dict.fromkeys(name for one in cohorts for name in (one.settings.get("modalities") or [])[1:]))


# Training


def runs_of(experiment: Experiment) -> list[Run]:
    """The trainings whose record can be read."""
    return [run for run in experiment.runs.values() if not isinstance(run, Missing)]


def first_run(experiment: Experiment) -> Run:
    """The first of `runs_of`, for facts that are the same for all."""
    return runs_of(experiment)[0]


def network_phrase(name: str) -> str:
    """A network in a sentence, with its citations."""
    return ARCHITECTURES[name].described if name in ARCHITECTURES else name


def network_details(name: str, run: Run) -> list[str]:
    """Channels, normalisation, dropout and size of a network."""
    own, architecture = run.settings, ARCHITECTURES.get(name)
    details = [f"{listed(own['channels'])} channels"] if own.get("channels") else []
    if architecture and architecture.patch_size:
        details.append(f"patches of {own.get('patch_size') or architecture.patch_size} voxels a side")
    if architecture and architecture.has_norm and own.get("norm") == "group":
        details.append("group instead of batch normalisation")
    if architecture and architecture.has_dropout and own.get("dropout"):
        details.append(f"dropout of {plain_number(own['dropout'])}")
    return details + ([f"{run.parameters:,} parameters"] if run.parameters else [])


def run_range(experiment: Experiment, key: str, decimals: int = 1) -> str:
    """A constant of the task over the trainings: one value, or its range where each fold has its own."""
    values = sorted(float(run.task[key]) for run in runs_of(experiment) if key in run.task)
    low, high = (plain_number(round(value, decimals)) for value in (values[0], values[-1]))
    return low if low == high else f"{low}–{high}"


def span(values: Iterable[int]) -> str:
    """``12`` or ``12 to 40``."""
    known = sorted(values)
    return str(known[0]) if known[0] == known[-1] else f"{known[0]} to {known[-1]}"


def augmentations(limits: dict | None) -> list[str]:
    """What the augmentation changes, with its limits."""
    limits = limits or {}
    movement = {
        "rotation by up to {}° about each axis": limits.get("rotation_degrees"),
        "shift by up to {} % of the field of view": 100 * limits.get("shift", 0),
        "scaling by up to {} %": 100 * limits.get("scale", 0),
    }
    appearance = {
        "a change of contrast (exponent up to e to the power ±{})": limits.get("log_gamma"),
        "a random increasing map of the intensities of six linear pieces (slopes up to e to the power ±{})": limits.get(
            "histogram"
        ),
        "Gaussian blur (standard deviation up to {} voxels)": limits.get("blur_voxels"),
        "smooth deformation of the moved ones (up to {} of the field of view)": limits.get("elastic"),
        "slices of up to {} voxels along one axis": limits.get("low_resolution"),
        "a box set to 0 (sides up to {} of the field of view)": limits.get("cutout"),
        "a smooth bias field (logarithm up to ±{})": limits.get("bias_field"),
        "Gaussian noise (standard deviation up to {} of that of the intensities)": limits.get("noise"),
    }
    moved, others = (
        [words.format(plain_number(round(value, 6))) for words, value in kind.items() if value]
        for kind in (movement, appearance)
    )
    changes = ["left and right exchanged"] if limits.get("flip") else []
    return changes + ([f"movement ({listed(moved)})"] if moved else []) + others


def absent_baselines(experiment: Experiment, models: list[str], tissue_maps: bool | None) -> list[str]:
    """Baselines that could be expected and were not fitted for a reason that only the log has.

    Args:
        experiment: The experiment.
        models: The baselines that were fitted.
        tissue_maps: Whether the study has tissue maps on its grid.
    """
    if experiment.task == "segmentation":
        return []
    explained = {"age_sex"} if experiment.target in ("age", "sex") else set()
    if experiment.native or all(cohort.settings.get("mni_space") for cohort in experiment.cohorts):
        explained.add("volumes")
    expected = EXPECTED_BASELINES | (EXPECTED_WITH_TISSUE_MAPS[experiment.task] if tissue_maps else {})
    return [words for name, words in expected.items() if name not in {*models, *explained}]


# Evaluation


def with_details(experiment: Experiment, setting: str) -> bool:
    """Whether details.tsv has rows of this setting."""
    return not isinstance(experiment.details, Missing) and (experiment.details["setting"] == setting).any()


def detail_groups(experiment: Experiment) -> list[str]:
    """The groups of participants in details.tsv."""
    return [] if isinstance(experiment.details, Missing) else list(experiment.details["group"].astype(str).unique())


def group_kinds(metrics: pd.DataFrame) -> list[str]:
    """``site``, ``sex``, ...: the variables by which participants were grouped."""
    groups = metrics["group"].astype(str)
    return list(groups[groups.str.contains("=")].str.split("=").str[0].unique())


def interval_note(experiment: Experiment) -> str:
    """How prediction intervals were made, with its reference; empty where there are none."""
    if not _with_coverage(experiment, conformal.SETTING):
        return ""
    each = ", for each test fold" if experiment.test_folds else ""
    if experiment.folds:
        return f"CV+ [@barber2021] from the errors out of fold{each}"
    return (
        "split-conformal prediction [@lei2018] from the errors on the validation scans, on which the epoch was chosen too, so "
        "that its coverage is approximate"
    )


def set_note(experiment: Experiment) -> str:
    """From which predictions the conformal sets of a classification were made; empty where there are none."""
    if not _with_coverage(experiment, conformal_sets.SETTING):
        return ""
    each = ", for each test fold" if experiment.test_folds else ""
    if experiment.folds:
        return f"CV+ [@romano2020] from the probabilities out of fold{each}"
    return (
        "calibration by the probabilities of the validation scans, on which the epoch was chosen too, so that the coverage of "
        f"the sets is approximate{each}"
    )


def _with_coverage(experiment: Experiment, setting: str) -> bool:
    if isinstance(experiment.details, Missing):
        return False
    rows = experiment.details
    rows = rows[(rows["setting"] == setting) & (rows["metric"] == "coverage")].dropna(subset=["value"])
    return len(rows) > 0


def threshold_note(experiment: Experiment) -> str:
    """How the network's threshold was chosen; empty where details.tsv has no note on it."""
    rows = experiment.details
    if isinstance(rows, Missing):
        return ""
    rows = rows[(rows["setting"] == AT_THRESHOLD) & (rows["model"] == "network") & (rows["group"] == "all")]
    return next(iter(rows["note"].dropna()), "")


def interval_counts(experiments: Iterable[Experiment]) -> dict[str, int]:
    """The intervals of metrics.tsv by method."""
    tables = [one.metrics for one in experiments if not isinstance(one.metrics, Missing)]
    columns = [table["interval"] for table in tables if "interval" in table]
    counts = pd.concat(columns).value_counts() if columns else {}
    return {name: int(counts[name]) for name in ("bca", "percentile", "none", "newcombe") if name in counts}


def shift_places(experiment: Experiment) -> list[str]:
    """The site of each row of shift.tsv, one for each tested cohort and site."""
    if isinstance(experiment.shift, Missing):
        return []
    return list(experiment.shift[["cohort", "site"]].drop_duplicates()["site"])


def with_saliency(experiment: Experiment) -> bool:
    """Whether a saliency map was made."""
    made = (experiment.folder / "saliency" / "saliency.json").is_file()
    return made and not isinstance(experiment.saliency, Missing)


def with_regions(experiment: Experiment) -> bool:
    """Whether the importance of atlas regions was measured."""
    return isinstance(experiment.region_record, RegionRecord)


# Software


def program_versions(study: Study) -> list[str]:
    """The main programs with their installed versions and citations."""
    programs, settings = list(PROGRAMS), study.block("preprocessing")
    if not study.native and any(not cohort.settings.get("skull_stripped") for cohort in study.cohorts.values()):
        extractor = EXTRACTORS.get(settings.get("brain_extraction", ""), "")
        programs.append((extractor, extractor, ""))
    if settings.get("registration") == "deformable":
        programs.append(("picsl-greedy", "picsl-greedy", ""))
    if study.block("evaluation").get("harmonisation") == "combat":
        programs.append(("combatlearn", "combatlearn", ""))
    versions = study.versions
    return [f"{name} {versions[package]}{citation}" for package, name, citation in programs if package in versions]


def registers_with_network(study: Study) -> bool:
    """Whether scans were registered with a network that the study trained."""
    settings = study.block("preprocessing")
    return settings.get("registration") == "learned" and needs_network(settings)


def other_torch_versions(study: Study) -> list[str]:
    """The versions of PyTorch that trained, where one of them isn't the report's own."""
    found = dict.fromkeys(run.torch for one in study.trained for run in runs_of(one) if run.torch)
    return list(found) if set(found) - {study.versions.get("torch")} else []


def seeds_of(study: Study) -> list[str]:
    """The seeds of the configuration."""
    blocks = {"preprocessing": "preprocessing", "split": "split", "evaluation": "resampling", "saliency": "saliency"}
    seeds = [f"{words} {study.block(name)['seed']}" for name, words in blocks.items() if "seed" in study.block(name)]
    if registers_with_network(study):
        seeds.append(f"registration network {study.block('preprocessing')['learned']['seed']}")
    trained = [one for one in study.trained if one.training.get("seeds")]
    return seeds + [f"training of {one.title} {listed(one.training['seeds'])}" for one in trained]
