"""The participants: their flow with its exclusions, their demographics by part, and the check that no participant and no image is
in two parts of the split."""

from dataclasses import dataclass, field

import pandas as pd

from neurocohort.files import sha256_of
from neurocohort.report import labels
from neurocohort.report.development import by_use, folds_sentence, sides, tested_once
from neurocohort.report.exclusions import Comparison, compare_excluded
from neurocohort.report.sources import Missing
from neurocohort.report.study import Cohort, Experiment, Study, missing_of


@dataclass(frozen=True)
class Step:
    """A step of a flow: the participants and scans that are left, and a sentence on those that were lost."""

    text: str
    participants: int
    scans: int
    lost: str


@dataclass(frozen=True)
class NotesOfKind:
    """The notes of one kind in ``file``; ``rows``: records with ``whose`` (empty for the cohort) and ``note``."""

    kind: str
    rows: list
    file: str


@dataclass(frozen=True)
class CohortFlow:
    """The flow of a cohort: its steps, every exclusion with its reason, how the excluded compare with the kept, and the notes of
    ingest and preprocessing."""

    cohort: str
    steps: list[Step]
    missing: list[Missing]
    exclusions: list
    comparison: Comparison | None
    notes: list[NotesOfKind | Missing]


@dataclass(frozen=True)
class Demographics:
    """The participants of a part and cohort, as text; ages and sexes count each participant once, at the first of their scans."""

    part: str
    cohort: str
    participants: int
    scans: int
    age: str
    age_range: str
    women: str
    sites: str
    target: str


@dataclass(frozen=True)
class SplitHash:
    """The sha256 of a cohort's split."""

    cohort: str
    file: str
    sha256: str


@dataclass
class SplitCheck:
    """What was found of participants and images in two parts.

    ``counts``: participants by part. ``folds``: a sentence on the cross-validation. ``overlapping``: participants in two parts.
    ``crossing_folds``: how many are in two folds. ``images``: how many images with equal voxels are in two parts, of
    ``compared``. ``moved``: participants in another part than in split.tsv.
    """

    counts: list[tuple[str, int]]
    folds: str
    overlapping: list[str]
    crossing_folds: int = 0
    images: int = 0
    compared: int = 0
    moved: list[str] = field(default_factory=list)
    hashes: list[SplitHash] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)

    @property
    def leaks(self) -> bool:
        return bool(self.overlapping or self.crossing_folds or self.images or self.moved)

    @property
    def clean(self) -> bool:
        return not (self.leaks or self.missing)


def cohort_flow(study: Study, cohort: Cohort) -> CohortFlow:
    """The flow of a cohort from its source through ingest and preprocessing with its quality limits."""
    scans, ingest, every = cohort.scans, cohort.ingest_exclusions, cohort.exclusions
    steps: list[Step] = []
    if not (isinstance(scans, Missing) or isinstance(ingest, Missing) or isinstance(every, Missing)):
        later = every[every["stage"] != "ingest"]
        kept = scans[~scans["scan_id"].isin(later["scan_id"])]
        source = pd.concat([scans[["participant_id", "scan_id"]], ingest[["participant_id", "scan_id"]]])
        steps = [
            _step("Found in the source", source),
            _step("Ingested: read, and matched to a participant", scans, ingest),
            _step("Preprocessed, and within the quality limits", kept, later),
        ]
    rows = [] if isinstance(every, Missing) else every.to_dict("records")
    missing = missing_of((scans, ingest, every))
    return CohortFlow(cohort.name, steps, missing, rows, compare_excluded(study, cohort), _notes(cohort))


def experiment_flow(experiment: Experiment) -> dict[str, list[Step]] | Missing:
    """The steps of an experiment's flow by cohort."""
    if isinstance(experiment.flow, Missing):
        return experiment.flow
    flows: dict[str, list[Step]] = {}
    for row in experiment.flow.to_dict("records"):
        steps = flows.setdefault(str(row["cohort"]), [])
        people, scans = int(row["participants"]), int(row["scans"])
        lost = _lost(steps[-1].participants - people, steps[-1].scans - scans) if steps else ""
        steps.append(Step(row["step"], people, scans, lost))
    return flows


def demographics(samples: pd.DataFrame, settings: dict, folds: int = 0) -> list[Demographics]:
    """The participants by part and cohort, in the order of the split.

    Args:
        samples: samples.tsv.
        settings: The experiment's block of the configuration.
        folds: Folds of its cross-validation. With folds, training and validation are one part: each participant was in both. With
            test folds, everybody who isn't external is one part.
    """
    rows = []
    samples = by_use(samples, folds)
    for part in labels.PARTS:
        for cohort, group in samples[samples["part"] == part].groupby("cohort", sort=False):
            rows.append(_demographics(group, labels.PARTS[part], labels.cohort(cohort), settings))
    return rows


def _demographics(group: pd.DataFrame, part: str, cohort: str, settings: dict) -> Demographics:
    people = group.drop_duplicates("participant_id")
    ages = people["age"].dropna()
    women, known = int((people["sex"] == "F").sum()), int(people["sex"].notna().sum())
    return Demographics(
        part,
        cohort,
        len(people),
        len(group),
        _mean_and_sd(ages),
        f"{ages.min():.0f} to {ages.max():.0f}" if len(ages) else "–",
        f"{women} of {known} ({100 * women / known:.0f} %)" if known else "–",
        ", ".join(f"{site} {count}" for site, count in _counts(people["site"])),
        _target(people["target"], settings),
    )


def split_check(experiment: Experiment) -> SplitCheck | Missing:
    """Count participants in two parts, images with equal voxels in two parts (across cohorts too), and samples whose part is not
    that of the split."""
    samples, folds = experiment.samples, experiment.folds
    if isinstance(samples, Missing):
        return samples
    keys = samples["cohort"].astype(str) + ": " + samples["participant_id"].astype(str)
    # One name in two cohorts may or may not be one person, so it counts as a leak; the run's own guard stops there too.
    crossing = sides(samples).groupby(samples["participant_id"]).transform("nunique") > 1
    used = by_use(samples, folds)["part"]
    check = SplitCheck(
        [(labels.PARTS[part], int(keys[used == part].nunique())) for part in labels.PARTS if (used == part).any()],
        folds_sentence(samples, folds),
        sorted(set(keys[crossing])),
    )
    for name, divided in (("fold", bool(folds)), ("test_fold", tested_once(samples))):
        if divided and name in samples:
            check.crossing_folds += int((samples.groupby("participant_id")[name].nunique() > 1).sum())
    compared = []
    cohorts = {one.name: one for one in (*experiment.cohorts, *experiment.external)}
    for name, group in samples.groupby("cohort", sort=False):
        cohort = cohorts[str(name)]
        compared.append(_hashed(cohort, group, check))
        if not (group["part"] == "external").all():  # no training used an external cohort, so it has no split here
            _compare_with_split(cohort, group, check)
    images = pd.concat(compared)
    check.compared = len(images)
    check.images = int((images.groupby("voxels_sha256")["part"].nunique() > 1).sum())
    return check


def _hashed(cohort: Cohort, samples: pd.DataFrame, check: SplitCheck) -> pd.DataFrame:
    """The parts of a cohort's samples with the hashes of their voxels."""
    scans = cohort.scans
    if not isinstance(scans, Missing) and "voxels_sha256" not in scans:
        path, what = cohort.data / "scans.tsv", f"the check of the split of {cohort.title}"
        scans = cohort.sources.lack(path, what, "The table has no column voxels_sha256.")
    if isinstance(scans, Missing):
        check.missing.append(scans)
        return pd.DataFrame(columns=["part", "voxels_sha256"])
    own = samples[["scan_id"]].assign(part=sides(samples))
    merged = own.merge(scans[["scan_id", "voxels_sha256"]], on="scan_id")
    return merged.dropna(subset=["voxels_sha256"])


def _compare_with_split(cohort: Cohort, samples: pd.DataFrame, check: SplitCheck) -> None:
    """Enter the samples that are in another part than in the cohort's split."""
    if isinstance(cohort.split, Missing):
        check.missing.append(cohort.split)
        return
    path = cohort.results / "split.tsv"
    check.hashes.append(SplitHash(cohort.title, cohort.sources.name(path), sha256_of(path)))
    frozen = dict(zip(cohort.split["participant_id"], sides(cohort.split), strict=True))
    moved = samples.loc[sides(samples) != samples["participant_id"].map(frozen), "participant_id"]
    check.moved += sorted({f"{cohort.name}: {who}" for who in moved})


def _notes(cohort: Cohort) -> list[NotesOfKind | Missing]:
    found: list[NotesOfKind | Missing] = []
    for path, table in cohort.notes.items():
        if isinstance(table, Missing):
            found.append(table)
            continue
        rows = table.assign(whose=table["scan_id"].fillna(table["participant_id"]).fillna(""))
        for kind, group in rows.groupby("kind", sort=False):
            records = group[["whose", "note"]].to_dict("records")
            found.append(NotesOfKind(str(kind), records, cohort.sources.name(path)))
    return found


def _step(text: str, left: pd.DataFrame, exclusions: pd.DataFrame | None = None) -> Step:
    stages = [] if exclusions is None else _counts(exclusions["stage"])
    lost = "; ".join(f"{count} at {stage.replace('_', ' ')}" for stage, count in stages)
    people, scans = int(left["participant_id"].nunique()), int(left["scan_id"].notna().sum())
    return Step(text, people, scans, f"Excluded: {lost}" if lost else "")


def _lost(participants: int, scans: int) -> str:
    if scans <= 0 and participants <= 0:
        return ""
    return f"Left out: {labels.counted(participants, 'participant')}, {labels.counted(scans, 'scan')}"


def _counts(values: pd.Series) -> list[tuple[str, int]]:
    return [(str(value), int(count)) for value, count in values.value_counts().sort_index().items()]


def _mean_and_sd(numbers: pd.Series) -> str:
    return f"{numbers.mean():.1f} ({numbers.std():.1f})" if len(numbers) > 1 else labels.number(numbers.mean(), 1)


def _target(values: pd.Series, settings: dict) -> str:
    """The target of a part, as text."""
    if settings["task"] == "segmentation":
        return ""
    numbers = pd.to_numeric(values, errors="coerce").dropna()
    if settings["task"] == "regression":
        return _mean_and_sd(numbers)
    counts = numbers.value_counts()
    return ", ".join(f"{int(counts.get(code, 0))} {name}" for code, name in enumerate(labels.classes(settings)))
