"""The model card of an experiment (Mitchell et al. 2019, Proceedings of FAT*, 220-229): what its network is, what it is for,
what it learned from, how well it did on whom, and where its limits lie. Every line comes from the run."""

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from neurocohort.files import read_json
from neurocohort.imaging.derivatives import TEMPLATE_SPACE
from neurocohort.report import headline, labels, origins, participants
from neurocohort.report.claims import given_weights
from neurocohort.report.development import fitted_on, folds_of, folds_sentence, members_in_words
from neurocohort.report.markdown import escaped
from neurocohort.report.methods_facts import listed, plain_number, times
from neurocohort.report.model_limits import Known, limits, value_of
from neurocohort.report.networks import networks_of, networks_sentence, spelt
from neurocohort.report.sources import Missing, Sources
from neurocohort.study.members import members_of

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


@dataclass(frozen=True)
class Table:
    """A table of a card: column headings, and rows of texts."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A heading of the card with its sentences and, where it has one, a table."""

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
        _licence(known.settings, known.licences),
    ]


def experiment_card(
    sources: Sources,
    results: Path,
    experiment: str,
    settings: dict,
    samples: pd.DataFrame | Missing,
    configuration: dict,
    licences: dict[str, str] | None = None,
) -> list[Section]:
    """`card_sections` for the page, with run.json and metrics.tsv read through the report's ledger."""
    folder = results / "experiments" / experiment
    folds = folds_of(settings, configuration)
    trained = bool((settings.get("training") or {}).get("seeds"))
    run = None
    if trained:
        member = members_of(settings, folds)[0]
        run = sources.record(
            folder / member / "run.json", f"the facts of the training of {experiment}, {spelt(member)}"
        )
    metrics = sources.table(folder / "metrics.tsv", f"the results of {experiment}", headline.METRIC_COLUMNS)
    run, metrics, samples = (None if isinstance(one, Missing) else one for one in (run, metrics, samples))
    networks = networks_of(results, experiment)
    known = Known(experiment, settings, configuration, run, metrics, samples, networks, licences or {})
    return card_sections(known)


def licences_of(data: Path, cohorts: list[str], configuration: dict) -> dict[str, str]:
    """By cohort, the licence that its dataset_description.json states; synthetic cohorts are called so. Unknown ones are left
    out."""
    found = {}
    for name in cohorts:
        description = data / name / "dataset_description.json"
        settings = (configuration.get("cohorts") or {}).get(name) or {}
        if origins.synthetic(settings):
            found[name] = "synthetic scans that the workflow painted, free of terms"
        elif description.is_file() and (licence := read_json(description).get("License")):
            found[name] = str(licence)
    return found


def _details(known: Known) -> Section:
    settings, run, configuration = known.settings, known.run, known.configuration
    said = TASKS[settings["task"]].format(target=labels.target(settings.get("target", "")))
    own = (run or {}).get("settings") or {}
    name = own.get("network") or (settings.get("network") or {}).get("name", "unknown")
    sentences = [f"The network {said} from a preprocessed brain MRI scan. Its architecture is {name}."]
    if run is None:
        sentences.append("The record of its training, run.json, is missing.")
    else:
        if "parameters" in run:
            sentences.append(f"It has {run['parameters']:,} parameters.")
        shape = (configuration.get("preprocessing") or {}).get("shape")
        if shape:
            spacing = plain_number(configuration["preprocessing"]["spacing_mm"])
            inputs = listed(own.get("modalities") or settings.get("modalities") or ["T1w"])
            sentences.append(f"Input: {inputs}, {times(shape)} voxels of {spacing} mm in {TEMPLATE_SPACE}, brain only.")
        if run.get("torch"):
            device = "a CPU" if run.get("device") == "cpu" else run.get("device")
            sentences.append(f"It was trained with PyTorch {run['torch']} on {device}.")
    members = members_of(settings, known.folds) if (settings.get("training") or {}).get("seeds") else []
    used = known.networks.used if known.networks else len(members)
    if used > 1:
        sentences.append(
            f"The results are of the mean over {used} networks ({members_in_words(settings, known.folds)})."
        )
    if failed := networks_sentence(known.networks):
        sentences.append(failed)
    if members:
        named = f"{listed(members[:3])}{' and more' if len(members) > 3 else ''}"
        sentences.append(
            f"Weights: results/experiments/{known.experiment}/<member>/model.safetensors, members {named}."
        )
    return Section("Model details", tuple(sentences))


def _intended(configuration: dict) -> Section:
    sentences = ["Research on methods: as a reference to compare with, and to be tested on other cohorts."]
    if configuration.get("demo_data"):
        sentences = [
            "To show that the workflow runs. It learned from synthetic heads and is of no use on people's scans."
        ]
    return Section("Intended use", tuple(sentences))


def _out_of_scope(known: Known) -> Section:
    sentences = ["Diagnosis, prognosis, or any decision on a person.", "Scans that were preprocessed in another way."]
    if known.samples is not None:
        trained = fitted_on(known.samples, known.folds)
        ages = trained["age"].dropna()
        if len(ages):
            youngest, oldest = math.floor(ages.min()), math.ceil(ages.max())
            seen = "whom its own training never saw" if known.settings.get("transfer") else "whom it never saw"
            sentences.append(f"People younger than {youngest} or older than {oldest} years, {seen}.")
        sites = trained["site"].dropna().astype(str).unique()
        if len(sites):
            sentences.append(
                f"Scanners and sites other than {listed(sorted(sites))}, unless it was tested there first."
            )
        else:
            sentences.append(
                "Other scanners and sites than those of its training cohorts, unless it was tested there first."
            )
    return Section("Out of scope", tuple(sentences))


def _data(heading: str, kind: str, known: Known) -> Section:
    if known.samples is None:
        return Section(heading, ("samples.tsv is missing.",))
    own = known.samples[known.samples["part"].isin(PARTS[kind])]
    rows = participants.demographics(own, known.settings, known.folds)
    columns = {name: title for name, title in DATA_COLUMNS.items() if any(row[name] for row in rows)}
    sentences = _training_sentences(known) if kind == "training" else _evaluation_sentences(known)
    table = Table(tuple(columns.values()), tuple(tuple(str(row[name]) for name in columns) for row in rows))
    return Section(heading, tuple(sentences), table if rows else None)


def _training_sentences(known: Known) -> list[str]:
    if folds := folds_sentence(known.samples, known.folds):
        return [folds]
    keep = ((known.run or {}).get("settings") or {}).get("keep", "best")
    chosen = "the epoch was chosen on the validation part" if keep == "best" else "no epoch was chosen"
    return [f"Weights were fitted on the training part; {chosen}."]


def _evaluation_sentences(known: Known) -> list[str]:
    if labels.in_text(known.experiment) in given_weights(known.configuration.get("experiments") or {}):
        return [
            "This study did not train on these participants. Whether the weights that it started from did is not known."
        ]
    return [
        "Neither the training of this network nor the workflow's choice of its epoch or settings saw these participants."
    ]


def _metrics(settings: dict, metrics: pd.DataFrame | None) -> Section:
    heading = "Metrics"
    if metrics is None:
        return Section(heading, ("metrics.tsv is missing.",))
    whole = metrics[(metrics["group"] == "all") & (metrics["model"] == "network")]
    others = metrics[(metrics["group"] == "all") & (metrics["model"] != "network")]
    _, trivial, _ = headline.headline_metric(settings)
    rows = []
    for row in whole.to_dict("records"):
        same = [others[name] == row[name] for name in ("cohort", "part", "metric")]
        beside = others[same[0] & same[1] & same[2]]
        names = {other["model"]: value_of(other) for other in beside.to_dict("records")}
        first = {trivial: names.pop(trivial)} if trivial in names else {}
        told = "; ".join(f"{labels.MODELS.get(name, name)} {value}" for name, value in (first | names).items())
        where = f"{labels.PARTS.get(row['part'], row['part'])}, {labels.cohort(row['cohort'])}"
        rows.append((where, labels.metric(row["metric"]).label, value_of(row), told or "–", str(int(row["n"]))))
    sentence = "Values with 95 % intervals from resampling participants with all their scans; n counts participants."
    columns = ("Part and cohort", "Metric", "Network", "Baselines", "n")
    return Section(heading, (sentence,), Table(columns, tuple(rows)))


def _licence(settings: dict, licences: dict[str, str]) -> Section:
    cohorts = [*settings.get("cohorts", []), *(settings.get("external") or [])]
    sentences = [
        f"{labels.cohort(name)}: {(licences.get(name) or 'its terms are not recorded').rstrip('.')}."
        for name in cohorts
    ]
    return Section(
        "Licence of the data", (*sentences, "The weights were learned from these data: their terms go with them.")
    )


def _row(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"


def _spaced(lines: list[str]) -> str:
    """Blocks with a blank line between them, the items of a list without."""
    text = ""
    for before, line in zip(["", *lines], lines, strict=False):
        text += ("\n" if before.startswith("- ") and line.startswith("- ") else "\n\n") + line
    return text.strip() + "\n"
