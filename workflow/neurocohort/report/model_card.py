"""The model card of an experiment (Mitchell et al. 2019, Proceedings of FAT*, 220-229): its network, the intended use, the
training data, the results, and the limits. Every line comes from the run."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from neurocohort.evaluation.combined import COMBINED
from neurocohort.imaging.derivatives import TEMPLATE_SPACE
from neurocohort.report import headline, labels, participants
from neurocohort.report.claims import given_weights
from neurocohort.report.development import (
    fitted_on,
    folds_sentence,
    held_out,
    members_in_words,
    tested_once,
    unlabelled_sentence,
)
from neurocohort.report.markdown import escaped
from neurocohort.report.model_limits import Known, limits, value_of
from neurocohort.report.networks import networks_sentence
from neurocohort.report.study import Cohort, Experiment, Study, found
from neurocohort.settings.scan import NATIVE
from neurocohort.study.members import members_of, starts_published
from neurocohort.study.pretraining import pretraining_cohorts
from neurocohort.text import listed, plain_number, times

PARTS = {"training": ("train", "validation"), "evaluation": ("held-out", "external")}
DATA_COLUMNS = {
    "part": "Part",
    "cohort": "Cohort",
    "participants": "Participants",
    "scans": "Scans",
    "age": "Age, mean (SD)",
    "age_range": "Age range",
    "women": "Women",
    "target": "Target",
    "sites": "Participants by site",
}
TASKS = {
    "regression": "predicts {target}",
    "classification": "predicts the class of {target}",
    "segmentation": "segments cerebrospinal fluid, grey and white matter",
}
OWN_STRUCTURES = "segments {structures}"


@dataclass(frozen=True)
class Table:
    """A table of a card, as texts."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A section of the card: its heading, its sentences, and sometimes a table."""

    heading: str
    sentences: tuple[str, ...]
    table: Table | None = None


def model_card(known: Known) -> str:
    """The card as Markdown."""
    lines = [f"# Model card: {escaped(labels.spaced(known.experiment))}"]
    for section in card_sections(known):
        lines += [f"## {section.heading}", *(f"- {escaped(sentence)}" for sentence in section.sentences)]
        if section.table:
            rule = ["---"] * len(section.table.columns)
            rows = [_row(section.table.columns), "|".join(["", *rule, ""]), *map(_row, section.table.rows)]
            lines.append("\n".join(rows))
    return _spaced(lines)


def card_sections(known: Known) -> list[Section]:
    """The card's sections."""
    return [
        _details(known),
        _intended(known.configuration),
        _out_of_scope(known),
        _data("Training data", "training", known),
        _data("Evaluation data", "evaluation", known),
        _metrics(known.settings, known.metrics),
        Section("Limits and caveats", tuple(limits(known))),
        _licence(known.settings, _pretrained_on(known), known.licences),
    ]


def experiment_card(experiment: Experiment, study: Study) -> list[Section]:
    """`card_sections` of an experiment of the report."""
    return card_sections(
        Known(
            experiment.name,
            experiment.settings,
            study.configuration,
            next((found(run) for run in experiment.runs.values()), None),
            found(experiment.metrics),
            found(experiment.samples),
            found(experiment.networks),
            licences_of(_with_pretraining(study, experiment)),
        )
    )


def _with_pretraining(study: Study, experiment: Experiment) -> list[Cohort]:
    """The experiment's cohorts, and those that it was pretrained on."""
    own = {cohort.name: cohort for cohort in (*experiment.cohorts, *experiment.external)}
    names = pretraining_cohorts(study.configuration["experiments"], experiment.name)
    return [*(own | {name: study.cohorts[name] for name in names if name in study.cohorts}).values()]


def licences_of(cohorts: Iterable[Cohort]) -> dict[str, str]:
    """The terms of the data by cohort, where they are known."""
    return {cohort.name: cohort.licence for cohort in cohorts if cohort.licence}


def _details(known: Known) -> Section:
    settings = known.settings
    own = known.run.settings if known.run else {}
    structures = own.get("structures")
    task = OWN_STRUCTURES.format(structures=listed(structures)) if structures else TASKS[settings["task"]]
    task = task.format(target=labels.target(settings.get("target", "")))
    name = own.get("network") or (settings.get("network") or {}).get("name", "unknown")
    what = "an image in its own space" if _native(known.configuration) else "a preprocessed brain MRI scan"
    sentences = [f"The network {task} from {what}. Its architecture is {name}."]
    sentences += _training_details(known)
    members = (
        members_of(settings, known.folds, known.test_folds) if (settings.get("training") or {}).get("seeds") else []
    )
    used = known.networks.used if known.networks else len(members)
    if used > 1:
        sentences.append(
            f"Its predictions are the mean over {used} networks ({members_in_words(settings, known.folds, known.test_folds)})."
        )
    if failed := networks_sentence(known.networks):
        sentences.append(failed)
    if members:
        named = f"{listed(members[:3])}{' and more' if len(members) > 3 else ''}"
        sentences.append(
            f"Weights: results/experiments/{known.experiment}/<member>/model.safetensors, members {named}."
        )
    return Section("Model details", tuple(sentences))


def _native(configuration: Mapping[str, Any]) -> bool:
    return (configuration.get("preprocessing") or {}).get("space") == NATIVE


def _training_details(known: Known) -> list[str]:
    run, preprocessing = known.run, known.configuration.get("preprocessing") or {}
    if run is None:
        return ["The record of its training, run.json, is missing."]
    sentences = [f"It has {run.parameters:,} parameters."] if run.parameters else []
    if preprocessing.get("shape"):
        grid = f"{times(preprocessing['shape'])} voxels of {plain_number(preprocessing['spacing_mm'])} mm"
        inputs = listed(run.settings.get("modalities") or known.settings.get("modalities") or ["T1w"])
        if _native(known.configuration):
            sentences.append(f"Input: {grid} around the middle of the foreground.")
        else:
            sentences.append(f"Input: {inputs}, {grid} in {TEMPLATE_SPACE}, brain only.")
    if run.torch:
        sentences.append(
            f"It was trained with PyTorch {run.torch} on {'a CPU' if run.device == 'cpu' else run.device}."
        )
    return sentences


def _intended(configuration: dict) -> Section:
    sentence = "Research on methods: a reference for comparisons, and a model to be tested on other cohorts."
    if configuration.get("demo_data"):
        sentence = "To show that the workflow runs. It learned from synthetic heads and is of no use on people's scans."
    return Section("Intended use", (sentence,))


def _out_of_scope(known: Known) -> Section:
    sentences = ["Diagnosis, prognosis, or any decision on a person.", "Scans with other preprocessing."]
    if known.samples is not None:
        trained = fitted_on(known.samples, known.folds)
        ages, sites = trained["age"].dropna(), trained["site"].dropna().astype(str).unique()
        if len(ages):
            youngest, oldest = math.floor(ages.min()), math.ceil(ages.max())
            sentences.append(
                f"People younger than {youngest} or older than {oldest} years: the training data of this study had none."
            )
        others = listed(sorted(sites)) if len(sites) else "those of its training cohorts"
        sentences.append(f"Scanners and sites other than {others}, unless it was tested there first.")
    return Section("Out of scope", tuple(sentences))


def _data(heading: str, kind: str, known: Known) -> Section:
    if known.samples is None:
        return Section(heading, ("samples.tsv is missing.",))
    own = known.samples[known.samples["part"].isin(PARTS[kind])]
    if kind == "evaluation" and tested_once(known.samples):
        own = pd.concat([held_out(known.samples), own])
    rows = participants.demographics(own, known.settings, known.folds)
    columns = {name: title for name, title in DATA_COLUMNS.items() if any(getattr(row, name) for row in rows)}
    sentences = _training_sentences(known) if kind == "training" else _evaluation_sentences(known)
    table = Table(tuple(columns.values()), tuple(tuple(str(getattr(row, name)) for name in columns) for row in rows))
    return Section(heading, tuple(sentences), table if rows else None)


def _training_sentences(known: Known) -> list[str]:
    start = ["The training started from published weights, which had been trained on UK Biobank (Peng et al. 2021)."]
    start = start if _published(known) else []
    if cohorts := _pretrained_on(known):
        start.append(
            f"The training started from weights that were pretrained on scans of {listed(map(labels.cohort, cohorts))} without "
            "labels, and on no held-out scan."
        )
    if fraction := ((known.run.settings.get("synthetic") or {}) if known.run else {}).get("fraction"):
        start.append(
            f"A fraction of {plain_number(fraction)} of the training samples were not scans, but images of random contrast "
            "painted from the scans' label maps (after SynthSeg, Billot et al. 2023)."
        )
    start += unlabelled_sentence([known.run] if known.run else [])
    if folds := folds_sentence(known.samples, known.folds):
        return [folds, *start]
    if known.run is None or known.run.keep == "best":
        return ["Weights were fitted on the training part. The epoch was chosen on the validation part.", *start]
    return ["Weights were fitted on the training part. No epoch was chosen.", *start]


def _pretrained_on(known: Known) -> list[str]:
    """The cohorts that the start of the training learned from without labels."""
    return pretraining_cohorts(known.configuration.get("experiments") or {}, known.experiment)


def _published(known: Known) -> bool:
    experiments = known.configuration.get("experiments") or {}
    return known.experiment in experiments and starts_published(experiments, known.experiment)


def _evaluation_sentences(known: Known) -> list[str]:
    if labels.in_text(known.experiment) in given_weights(known.configuration.get("experiments") or {}):
        return [
            "This study did not train on these participants. Whether its initial weights were trained on them is not known."
        ]
    if _published(known):
        return [
            "This study did not train on these participants. Its initial weights were trained on participants of UK Biobank."
        ]
    if known.samples is not None and tested_once(known.samples):
        return [
            "Each participant of the training cohorts was tested once, by the networks that were neither trained on this "
            "participant nor chosen with this participant's data. The mean over the networks of all test folds was tested on "
            "external cohorts only."
        ]
    return ["These participants were used neither to train this network nor to choose its epoch or settings."]


def _metrics(settings: dict, metrics: pd.DataFrame | None) -> Section:
    heading = "Metrics"
    if metrics is None:
        return Section(heading, ("metrics.tsv is missing.",))
    whole = metrics[(metrics["group"] == "all") & (metrics["model"] == "network")]
    others = metrics[(metrics["group"] == "all") & ~metrics["model"].isin(["network", COMBINED])]
    _, trivial, _ = headline.headline_metric(settings)
    rows = []
    for _, row in whole.iterrows():
        same = others[(others[["cohort", "part", "metric"]] == row[["cohort", "part", "metric"]]).all(axis=1)]
        values = {other["model"]: value_of(other) for _, other in same.iterrows()}
        first = {trivial: values.pop(trivial)} if trivial in values else {}
        baselines = "; ".join(f"{labels.model(name)} {value}" for name, value in (first | values).items())
        where = f"{labels.PARTS.get(row['part'], row['part'])}, {labels.cohort(row['cohort'])}"
        rows.append((where, labels.metric(row["metric"]).label, value_of(row), baselines or "–", str(int(row["n"]))))
    sentence = "Values with 95 % intervals from resampling participants with all their scans; n counts participants."
    columns = ("Part and cohort", "Metric", "Network", "Baselines", "n")
    return Section(heading, (sentence,), Table(columns, tuple(rows)))


def _licence(settings: dict, pretrained_on: list[str], licences: dict[str, str]) -> Section:
    cohorts = dict.fromkeys([*settings.get("cohorts", []), *(settings.get("external") or []), *pretrained_on])
    sentences = [
        f"{labels.cohort(name)}: {(licences.get(name) or 'its terms are not recorded').rstrip('.')}."
        for name in cohorts
    ]
    return Section(
        "Licence of the data",
        (*sentences, "The weights were learned from these data, so the terms of the data apply to them too."),
    )


def _row(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"


def _spaced(lines: list[str]) -> str:
    """Blank lines between blocks, none between the items of a list."""
    text = ""
    for before, line in zip(["", *lines], lines, strict=False):
        text += ("\n" if before.startswith("- ") and line.startswith("- ") else "\n\n") + line
    return text.strip() + "\n"
