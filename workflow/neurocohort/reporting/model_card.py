"""The model card of an experiment (Mitchell et al. 2019, Proceedings of FAT*, 220-229): what its network is, what it is for,
what it learned from, how well it did on whom, and where its limits lie. Every line comes from the run."""

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from neurocohort.files import read_json
from neurocohort.imaging.template import TEMPLATE_SPACE
from neurocohort.members import members_of
from neurocohort.reporting import headline, labels, participants
from neurocohort.reporting.methods_facts import SYNTHETIC, listed, plain_number, times
from neurocohort.reporting.sources import Missing, Sources

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
FEW = 100  # held-out participants: below it, intervals are wide enough to say so


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


def model_card(
    experiment: str,
    settings: dict,
    run: dict | None,
    metrics: pd.DataFrame | None,
    samples: pd.DataFrame | None,
    configuration: dict,
    licences: dict[str, str] | None = None,
) -> str:
    """The card as Markdown; arguments as those of `card_sections`."""
    lines = [f"# Model card: {labels.spaced(experiment)}"]
    for section in card_sections(experiment, settings, run, metrics, samples, configuration, licences):
        lines += [f"## {section.heading}", *(f"- {sentence}" for sentence in section.sentences)]
        if section.table:
            rule = ["---"] * len(section.table.columns)
            rows = [_row(row) for row in (section.table.columns, rule, *section.table.rows)]
            lines.append("\n".join(rows))
    return _spaced(lines)


def card_sections(
    experiment: str,
    settings: dict,
    run: dict | None,
    metrics: pd.DataFrame | None,
    samples: pd.DataFrame | None,
    configuration: dict,
    licences: dict[str, str] | None = None,
) -> list[Section]:
    """The card's sections.

    ``settings``: the experiment's block of ``configuration``; ``run``: run.json of its first member; ``metrics``, ``samples``:
    its metrics.tsv and samples.tsv. What can't be read is None, and its lines say that it is missing. ``licences``: by cohort,
    the licence in its dataset_description.json.
    """
    return [
        _details(experiment, settings, run, configuration),
        _intended(settings, configuration),
        _out_of_scope(settings, samples, configuration),
        _data("Training data", "training", settings, samples),
        _data("Evaluation data", "evaluation", settings, samples),
        _metrics(settings, metrics),
        _limits(settings, metrics, samples, configuration),
        _licence(settings, licences or {}),
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
    folds = (configuration.get("split") or {}).get("folds", 0)
    trained = bool((settings.get("training") or {}).get("seeds"))
    run = None
    if trained:
        member = members_of(settings, folds)[0]
        what = f"the facts of the training of {experiment}, {member.replace('_', ', ').replace('-', ' ')}"
        run = sources.record(folder / member / "run.json", what)
    metrics = sources.table(folder / "metrics.tsv", f"the results of {experiment}", headline.METRIC_COLUMNS)
    known = [None if isinstance(one, Missing) else one for one in (run, metrics, samples)]
    return card_sections(experiment, settings, *known, configuration, licences)


def licences_of(data: Path, cohorts: list[str], configuration: dict) -> dict[str, str]:
    """By cohort, the licence that its dataset_description.json states; synthetic cohorts are called so. Unknown ones are left
    out."""
    found = {}
    for name in cohorts:
        description = data / name / "dataset_description.json"
        settings = (configuration.get("cohorts") or {}).get(name) or {}
        if str(settings.get("base_url") or "").startswith(SYNTHETIC):
            found[name] = "synthetic scans that the workflow painted, free of terms"
        elif description.is_file() and (licence := read_json(description).get("License")):
            found[name] = str(licence)
    return found


def _details(experiment: str, settings: dict, run: dict | None, configuration: dict) -> Section:
    told = TASKS[settings["task"]].format(target=settings.get("target", ""))
    own = (run or {}).get("settings") or {}
    name = own.get("network") or (settings.get("network") or {}).get("name", "unknown")
    sentences = [f"The network {told} from a preprocessed brain MRI scan. Its architecture is {name}."]
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
    folds = (configuration.get("split") or {}).get("folds", 0)
    members = members_of(settings, folds) if (settings.get("training") or {}).get("seeds") else []
    if len(members) > 1:
        sentences.append(f"The results are of the mean over {len(members)} networks (seeds and folds).")
    if members:
        named = f"{listed(members[:3])}{' and more' if len(members) > 3 else ''}"
        sentences.append(f"Weights: results/experiments/{experiment}/<member>/model.safetensors, members {named}.")
    return Section("Model details", tuple(sentences))


def _intended(settings: dict, configuration: dict) -> Section:
    sentences = ["Research on methods: as a reference to compare with, and to be tested on other cohorts."]
    if configuration.get("demo_data"):
        sentences = [
            "To show that the workflow runs. It learned from synthetic heads and is of no use on people's scans."
        ]
    return Section("Intended use", tuple(sentences))


def _out_of_scope(settings: dict, samples: pd.DataFrame | None, configuration: dict) -> Section:
    sentences = ["Diagnosis, prognosis, or any decision on a person.", "Scans that were preprocessed in another way."]
    if samples is not None:
        ages = samples.loc[samples["part"] == "train", "age"].dropna()
        if len(ages):
            youngest, oldest = math.floor(ages.min()), math.ceil(ages.max())
            sentences.append(f"People younger than {youngest} or older than {oldest} years, whom it never saw.")
        sites = samples.loc[samples["part"] == "train", "site"].dropna().astype(str).unique()
        if len(sites):
            sentences.append(
                f"Scanners and sites other than {listed(sorted(sites))}, unless it was tested there first."
            )
    return Section("Out of scope", tuple(sentences))


def _data(heading: str, kind: str, settings: dict, samples: pd.DataFrame | None) -> Section:
    if samples is None:
        return Section(heading, ("samples.tsv is missing.",))
    rows = participants.demographics(samples[samples["part"].isin(PARTS[kind])], settings["task"])
    columns = {name: title for name, title in DATA_COLUMNS.items() if any(row[name] for row in rows)}
    sentence = {
        "training": "Weights were fitted on the training part; the epoch was chosen on the validation part.",
        "evaluation": "No training and no choice of a model saw these participants.",
    }[kind]
    table = Table(tuple(columns.values()), tuple(tuple(str(row[name]) for name in columns) for row in rows))
    return Section(heading, (sentence,), table if rows else None)


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
        names = {other["model"]: _value(other) for other in beside.to_dict("records")}
        first = {trivial: names.pop(trivial)} if trivial in names else {}
        told = "; ".join(f"{labels.MODELS.get(name, name)} {value}" for name, value in (first | names).items())
        where = f"{labels.PARTS.get(row['part'], row['part'])}, {labels.cohort(row['cohort'])}"
        rows.append((where, labels.metric(row["metric"]).label, _value(row), told or "–", str(int(row["n"]))))
    sentence = "Values with 95 % intervals from resampling participants; n counts participants."
    columns = ("Part and cohort", "Metric", "Network", "Baselines", "n")
    return Section(heading, (sentence,), Table(columns, tuple(rows)))


def _limits(settings: dict, metrics: pd.DataFrame | None, samples: pd.DataFrame | None, configuration: dict) -> Section:
    sentences = []
    if configuration.get("demo_data"):
        sentences.append("The data are synthetic: the figures say nothing about people.")
    if samples is not None:
        tested = samples[samples["part"] == "held-out"]
        count = tested[["cohort", "participant_id"]].drop_duplicates().shape[0]
        if count < FEW:
            people = f"{labels.counted(count, 'participant')} {'was' if count == 1 else 'were'}"
            sentences.append(f"Only {people} held out: the intervals are wide.")
        if samples.loc[samples["part"] == "train", "site"].nunique() == 1:
            sentences.append("It learned from one site; what it owes to that scanner can't be told from these data.")
    if not settings.get("external"):
        sentences.append("It was not tested on an external cohort.")
    if metrics is not None:
        caveats = [record["caveat"] for record in headline.headline_of(metrics, "", settings) if record.get("caveat")]
        sentences += caveats
    if settings["task"] == "segmentation":
        sentences.append(
            "The reference labels were made by a program, so that the figures are agreement with it and not accuracy."
        )
    if settings["task"] == "classification":
        sentences.append("Predictive values hold for the share of cases among these participants alone.")
    if settings.get("target") == "age":
        sentences.append(
            "Predictions shrink towards the mean age: differences between groups of unlike age mean little uncorrected."
        )
    return Section("Limits and caveats", tuple(sentences))


def _licence(settings: dict, licences: dict[str, str]) -> Section:
    cohorts = [*settings.get("cohorts", []), *(settings.get("external") or [])]
    sentences = [
        f"{labels.cohort(name)}: {(licences.get(name) or 'its terms are not recorded').rstrip('.')}."
        for name in cohorts
    ]
    return Section(
        "Licence of the data", (*sentences, "The weights were learned from these data: their terms go with them.")
    )


def _value(row: dict) -> str:
    places = labels.metric(row["metric"]).decimals
    return f"{labels.number(row['value'], places)} {labels.interval(row['ci_low'], row['ci_high'], places)}".strip()


def _row(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _spaced(lines: list[str]) -> str:
    """Blocks with a blank line between them, the items of a list without."""
    text = ""
    for before, line in zip(["", *lines], lines, strict=False):
        text += ("\n" if before.startswith("- ") and line.startswith("- ") else "\n\n") + line
    return text.strip() + "\n"
