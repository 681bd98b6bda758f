"""What the methods text is made of: the configuration, and the tables and records of the run that it needs."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from neurocohort.evaluation.record import Record
from neurocohort.files import read_json
from neurocohort.report import labels, origins
from neurocohort.report.headline import METRIC_COLUMNS
from neurocohort.report.participants import EXCLUSION_COLUMNS, SAMPLE_COLUMNS
from neurocohort.report.sources import Missing, Sources
from neurocohort.study.members import members_of

OPTIONAL_TABLES = ("networks", "comparisons", "details", "curves", "confusion", "shift", "spread")


@dataclass
class Cohort:
    """A cohort's settings and tables; a table that can't be read is None. ``variables``: participants.json."""

    name: str
    settings: dict
    scans: pd.DataFrame | None = None
    ingest_exclusions: pd.DataFrame | None = None
    exclusions: pd.DataFrame | None = None
    quality: pd.DataFrame | None = None
    split: pd.DataFrame | None = None
    variables: dict = field(default_factory=dict)

    @property
    def title(self) -> str:
        return labels.cohort(self.name)

    @property
    def source(self) -> str:
        return self.settings.get("source", "")

    @property
    def synthetic(self) -> bool:
        return origins.synthetic(self.settings)


@dataclass
class Experiment:
    """An experiment's settings, tables and records; ``runs``: run.json by member; ``tables``: those of OPTIONAL_TABLES that
    are there and have rows."""

    name: str
    settings: dict
    samples: pd.DataFrame | None = None
    flow: pd.DataFrame | None = None
    metrics: pd.DataFrame | None = None
    baselines: pd.DataFrame | None = None
    sweep: pd.DataFrame | None = None
    control: dict | None = None
    saliency: dict | None = None
    evaluations: Record = field(default_factory=Record)
    members: list[str] = field(default_factory=list)
    runs: dict[str, dict] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return labels.in_text(self.name)

    @property
    def task(self) -> str:
        return self.settings["task"]

    @property
    def folds(self) -> int:
        """The folds of its cross-validation, 0 without."""
        return len({member.partition("_")[0] for member in self.members if member.startswith("fold-")})

    @property
    def training(self) -> dict:
        return self.settings.get("training") or {}


@dataclass
class Facts:
    """All of it; ``versions``: by package (lower case) the installed version."""

    configuration: dict
    cohorts: dict[str, Cohort]
    experiments: dict[str, Experiment]
    versions: dict[str, str]
    missing: list[Missing] = field(default_factory=list)

    def block(self, name: str) -> dict:
        """A block of the configuration; empty where it isn't there."""
        return self.configuration.get(name) or {}


def gather(
    sources: Sources,
    results: Path,
    data: Path,
    cohorts: list[str],
    experiments: dict[str, dict],
    configuration: dict,
    packages: list[dict],
) -> Facts:
    """Read what the methods text needs. Where another section reads the same file it stands in the ledger once."""
    versions = {one["name"].lower(): one["installed"] for one in packages if one["installed"]}
    facts = Facts(configuration, {}, {}, versions)

    def kept(found: object) -> object:
        if isinstance(found, Missing):
            facts.missing += [] if found in facts.missing else [found]
            return None
        return found

    for name in cohorts:
        settings = (configuration.get("cohorts") or {}).get(name) or {}
        facts.cohorts[name] = own = Cohort(name, settings)
        flow = f"the flow of participants of {labels.cohort(name)}"
        own.scans = kept(sources.table(data / name / "scans.tsv", flow, ("participant_id", "scan_id")))
        own.ingest_exclusions = kept(
            sources.table(data / name / "exclusions.tsv", flow, EXCLUSION_COLUMNS, may_be_empty=True)
        )
        own.exclusions = kept(
            sources.table(results / name / "exclusions.tsv", flow, EXCLUSION_COLUMNS, may_be_empty=True)
        )
        quality = f"the quality table of {labels.cohort(name)}"
        own.quality = kept(sources.table(results / name / "qc.tsv", quality, ("scan_id", "status")))
        trained = any(name in experiment.get("cohorts", []) for experiment in experiments.values())
        if trained:
            split = f"the split of {labels.cohort(name)} in the methods text"
            own.split = kept(sources.table(results / name / "split.tsv", split, ("participant_id", "part")))
        dictionary = data / name / "participants.json"
        own.variables = read_json(dictionary) if dictionary.is_file() else {}
    folds = (configuration.get("split") or {}).get("folds", 0)
    for name, settings in experiments.items():
        facts.experiments[name] = _experiment(sources, results / "experiments" / name, name, settings, folds, kept)
    return facts


def _experiment(sources: Sources, folder: Path, name: str, settings: dict, folds: int, kept) -> Experiment:
    own = Experiment(name, settings)
    own.samples = kept(sources.table(folder / "samples.tsv", f"the participants of {name}", SAMPLE_COLUMNS))
    columns = ("step", "scans", "participants", "cohort")
    own.flow = kept(sources.table(folder / "flow.tsv", f"the flow of participants of {name}", columns))
    own.metrics = kept(sources.table(folder / "metrics.tsv", f"the results of {name}", METRIC_COLUMNS))
    own.baselines = kept(sources.table(folder / "baselines.tsv", f"the baselines of {name}", ("model", "part")))
    own.members = members_of(settings, folds) if own.training.get("seeds") else []
    for member in own.members:
        what = f"the facts of the training of {name}, {member.replace('_', ', ').replace('-', ' ')}"
        run = kept(sources.record(folder / member / "run.json", what))
        if run is not None:
            own.runs[member] = run
    if settings.get("sweep"):
        columns = ("draw", "validation_loss", "criterion", "chosen")
        own.sweep = kept(sources.table(folder / "sweep" / "sweep.tsv", f"the sweep of {name}", columns))
    if settings.get("control"):
        own.control = kept(sources.record(folder / "control.json", f"the control of {name}"))
    # Sections of their own show these and box them where they are missing; here a sentence depends on each.
    for table in OPTIONAL_TABLES:
        path = folder / f"{table}.tsv"
        found = sources.table(path, f"the methods of {name}", may_be_empty=True) if path.is_file() else None
        if isinstance(found, pd.DataFrame) and not found.empty:
            own.tables[table] = found
    record = folder / "saliency" / "saliency.json"
    own.saliency = read_json(record) if record.is_file() else None
    return own


def listed(words: Iterable[object]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    texts = [str(word) for word in words]
    return f"{', '.join(texts[:-1])} and {texts[-1]}" if len(texts) > 1 else "".join(texts)


def plain_number(value: float) -> str:
    """``3`` for 3.0, ``0.003`` for 0.003: as a person writes it."""
    return f"{value:,.0f}" if float(value) == int(value) else f"{value:g}"


def times(sides: Iterable[int]) -> str:
    """``56 × 64 × 56``."""
    return " × ".join(str(side) for side in sides)


def together(sentences: dict[str, str]) -> list[str]:
    """One sentence for all experiments that share it. ``sentences``: by experiment's title, beginning in lower case; empty
    ones are left out. Where all of them share one, it names none."""
    groups: dict[str, list[str]] = {}
    for title, sentence in sentences.items():
        if sentence:
            groups.setdefault(sentence, []).append(title)
    if len(groups) == 1 and sum(map(len, groups.values())) == len(sentences):
        return [_capital(next(iter(groups)))]
    return [f"For {listed(titles)}, {sentence}" for sentence, titles in groups.items()]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
