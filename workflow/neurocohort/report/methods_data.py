"""The methods text's paragraphs on the data and on the split."""

from collections.abc import Iterator

import pandas as pd

from neurocohort.dataset.split import EXCLUDED, PARTS
from neurocohort.dataset.targets import class_names
from neurocohort.report import labels, origins
from neurocohort.report.development import by_use, folds_sentence
from neurocohort.report.methods_facts import Cohort, Experiment, Facts, listed, plain_number

VALUE_STEP = "with a "  # value of the target, or reference segmentation: steps of dataset/samples.py
USES = {
    "train": "to train on",
    "validation": "to validate on",
    "development": "to develop on",
    "held-out": "held out",
    "external": "in external cohorts",
}
PART_NAMES = {"train": "training", "validation": "validation", "held-out": "held-out"}


REFERENCE_LABELS = {
    origins.PAINTED: "label maps that were painted with the heads and disturbed near the tissues' borders, as a program "
    "would err",
    origins.FAST: "the label maps of FSL's FAST [@zhang2001] that OASIS-1 distributes, so that results are agreement with FAST",
    origins.GIVEN: "the label maps that the cohort came with",
}


def data_sentences(facts: Facts) -> Iterator[str]:
    """Where the scans came from, how many there were, who was excluded, and what each experiment took of them."""
    for cohort in facts.cohorts.values():
        if origin := _origin(cohort, facts):
            yield origin
        if cohort.scans is not None:
            yield from _counts(cohort)
        if cohort.ingest_exclusions is not None and cohort.exclusions is not None:
            yield _exclusions(cohort)
    for experiment in facts.experiments.values():
        yield from _selection(experiment, facts)


def split_sentences(facts: Facts) -> Iterator[str]:
    """How participants came into the parts, and how many are in each."""
    split = facts.block("split")
    trained = [cohort for cohort in facts.cohorts.values() if cohort.split is not None]
    drawn = [cohort for cohort in trained if not cohort.settings.get("split_file")]
    if split and drawn:
        shares = (1 - split["validation"] - split["held_out"], split["validation"], split["held_out"])
        told = listed(f"{100 * share:.0f} % {PART_NAMES[part]}" for share, part in zip(shares, PARTS, strict=True))
        whose = "each cohort" if len(drawn) == len(facts.cohorts) else listed(cohort.title for cohort in drawn)
        yield (
            f"The participants of {whose} were divided into a training, a validation and a held-out part ({told}), a "
            "participant with all scans into one part, since a split of scans or slices lets a network recognise "
            "people "
            "[@wen2020]."
        )
        yield (
            f"The parts were dealt (seed {split['seed']}) along an order by {_order(facts, drawn)}, those equal in all of these "
            "at random, so that each is divided as evenly as the counts allow; the assignment is kept in a record, and "
            "participants keep their part in later runs with the same proportions and seed."
        )
    for cohort in trained:
        if cohort.settings.get("split_file"):
            yield f"The split of {cohort.title} was given as a file."
        yield f"{cohort.title} was divided into {_part_counts(cohort.split)}."
    folded = [one for one in facts.experiments.values() if one.training.get("cross_validation")]
    if folded and split.get("folds"):
        yield (
            "For cross-validation, the participants of the training and validation parts of "
            f"{listed(_trained_on(folded))} were "
            f"dealt to {split['folds']} folds balanced over the same variables by minimisation [@pocock1975]; the "
            "held-out part "
            "was outside every fold."
        )
    for experiment in facts.experiments.values():
        yield from _sample_counts(experiment)
    yield from _leakage(facts)


def _origin(cohort: Cohort, facts: Facts) -> str:
    if cohort.synthetic:
        made = facts.block("synthetic").get(cohort.source) or {}
        how = f", with voxels of {plain_number(made['spacing_mm'])} mm (seed {made['seed']})" if made else ""
        layout = labels.cohort(cohort.source)
        return (
            f"The scans of {cohort.title} were synthetic: heads painted with known effects of age and dementia{how}, "
            "in the "
            f"layout of {layout}'s archives. They stand for no real people."
        )
    published = origins.from_publisher(cohort.settings)
    if cohort.source == "ixi" and published:
        return f"The scans of {cohort.title} were those of the published archives of IXI [@ixi]."
    if cohort.source == "oasis1":
        discs = cohort.settings.get("discs") or []
        told = f" (discs {listed(discs)})" if len(discs) < 12 else ""
        if published:
            return f"The scans of {cohort.title} were those of the published archives of OASIS-1 [@marcus2007]{told}."
    if cohort.source in ("ixi", "oasis1"):
        layout, citation = {"ixi": ("IXI", "[@ixi]"), "oasis1": ("OASIS-1", "[@marcus2007]")}[cohort.source]
        return (
            f"The scans of {cohort.title} were read from archives in the layout of {layout} {citation}, which were not fetched "
            "from the published addresses."
        )
    kinds = {"bids": "a local BIDS folder", "table": "a local table of image paths"}
    return f"The scans of {cohort.title} were read from {kinds[cohort.source]}." if cohort.source in kinds else ""


def _counts(cohort: Cohort) -> Iterator[str]:
    scans = cohort.scans
    people = scans.drop_duplicates("participant_id")
    sites = people["site"].dropna().value_counts().sort_index() if "site" in people else pd.Series(dtype=int)
    words = [labels.counted(len(scans), "scan"), "of", labels.counted(len(people), "participant")]
    if len(sites) > 1:
        words.append(f"from {len(sites)} sites ({', '.join(f'{site} {count}' for site, count in sites.items())})")
    elif len(sites) == 1:
        words.append(f"from one site ({sites.index[0]})")
    more = [_ages(people), _women(people)]
    modalities = cohort.settings.get("modalities") or []
    if len(modalities) > 1:
        more.append(f"with {listed(modalities)} images of each session")
    yield ", ".join(filter(None, [f"{cohort.title} had {' '.join(words)}", *more])) + "."
    repeated = int((scans["participant_id"].value_counts() > 1).sum())
    if repeated:
        yield (
            f"{labels.counted(repeated, 'participant')} of {cohort.title} {'was' if repeated == 1 else 'were'} "
            "scanned more than once."
        )


def _ages(people: pd.DataFrame) -> str:
    ages = people["age"].dropna() if "age" in people else pd.Series(dtype=float)
    if len(ages) < 2:
        return ""
    known = "" if len(ages) == len(people) else f"; known of {len(ages)}"
    return (
        f"aged {ages.min():.0f} to {ages.max():.0f} years (mean {ages.mean():.1f}, standard deviation "
        f"{ages.std():.1f}{known})"
    )


def _women(people: pd.DataFrame) -> str:
    known = people["sex"].dropna() if "sex" in people else pd.Series(dtype=str)
    women = f"{int((known == 'F').sum())} of them women"
    return "" if known.empty else women if len(known) == len(people) else f"{women} (sex known of {len(known)})"


def _exclusions(cohort: Cohort) -> str:
    later = cohort.exclusions[cohort.exclusions["stage"] != "ingest"]
    stages = "; ".join(f"{stage.replace('_', ' ')} {count}" for stage, count in later["stage"].value_counts().items())
    first = len(cohort.ingest_exclusions)
    if not first and later.empty:
        return f"No scan of {cohort.title} was excluded, neither at ingest nor in preprocessing."
    after = (
        f"{labels.counted(len(later), 'scan')} in preprocessing ({stages})" if len(later) else "none in preprocessing"
    )
    rows = f"{labels.counted(first, 'record')} {'was' if first == 1 else 'were'}" if first else "none was"
    return f"Of {cohort.title}, {rows} excluded at ingest and {after}."


def _selection(experiment: Experiment, facts: Facts) -> Iterator[str]:
    """What an experiment predicts, and how many scans were left for it."""
    target, classes = experiment.settings.get("target", ""), experiment.settings.get("classes") or []
    external = [labels.cohort(name) for name in experiment.settings.get("external") or []]
    named = listed(labels.cohort(name) for name in experiment.settings.get("cohorts") or [])
    tested = f"; {listed(external)} served as external test data" if external else ""
    if experiment.task == "segmentation":
        yield (
            f"The experiment {experiment.title} segmented tissues in {named}{tested}. "
            f"{_reference_labels(experiment, facts)}"
        )
    else:
        told = f" in the classes {listed(class_names(classes))}" if classes else ""
        yield (
            f"The experiment {experiment.title} predicted the variable {target}{told} in "
            f"{named}{tested}.{_derivation(experiment, facts)}"
        )
    if experiment.flow is None:
        return
    lacking = 0
    for cohort, steps in experiment.flow.groupby("cohort", sort=False):
        lost, before = [], None
        for step in steps.to_dict("records"):
            if before is not None and before["scans"] > step["scans"]:
                lost.append(f"{before['scans'] - step['scans']} by the step “{step['step']}”")
                lacking += str(step["step"]).startswith(VALUE_STEP)
            before = step
        first, last = steps.iloc[0], steps.iloc[-1]
        people = labels.counted(int(last["participants"]), "participant")
        left = f"{int(last['scans'])} of {int(first['scans'])} scans of {labels.cohort(cohort)} ({people}) were used"
        yield f"For {experiment.title}, {left}{'; left out were ' + listed(lost) if lost else ''}."
    if not lacking and experiment.flow["step"].astype(str).str.startswith(VALUE_STEP).any():
        wanted = "a reference segmentation" if experiment.task == "segmentation" else f"a value of {target}"
        yield f"For {experiment.title}, no scan lacked {wanted}."


def _derivation(experiment: Experiment, facts: Facts) -> str:
    """What the cohorts' data dictionaries say of the target, where they say how it was derived."""
    for name in experiment.settings.get("cohorts") or []:
        entry = facts.cohorts[name].variables.get(experiment.settings["target"]) if name in facts.cohorts else None
        if isinstance(entry, dict) and entry.get("Levels") and experiment.task == "classification":
            levels = ", ".join(f"{level}: {meaning}" for level, meaning in entry["Levels"].items())
            return f" In {labels.cohort(name)}, {experiment.settings['target']} is coded {levels}."
    return ""


def _reference_labels(experiment: Experiment, facts: Facts) -> str:
    kinds = {}
    for name in [*experiment.settings.get("cohorts", []), *(experiment.settings.get("external") or [])]:
        cohort = facts.cohorts.get(name)
        if cohort is None or not cohort.source:
            continue
        kinds.setdefault(REFERENCE_LABELS[origins.reference_labels(cohort.settings)], []).append(cohort.title)
    told = "; ".join(f"{kind}{f' ({listed(titles)})' if len(kinds) > 1 else ''}" for kind, titles in kinds.items())
    carried = " Each was carried to the study's grid by the scan's own transform, each label interpolated by itself"
    if _drawn_elsewhere(experiment, facts):
        carried += "; where it was drawn on another image of the head, that image was registered to the scan by an affine first"
    carried += "."
    return f"The reference was {told}.{carried}" if told else ""


def _drawn_elsewhere(experiment: Experiment, facts: Facts) -> bool:
    """Whether a label map of the experiment's cohorts lies in the space of another image than the scan."""
    for name in [*experiment.settings.get("cohorts", []), *(experiment.settings.get("external") or [])]:
        scans = facts.cohorts[name].scans if name in facts.cohorts else None
        if scans is not None and {"dseg_path", "dseg_reference_path", "path"} <= set(scans):
            labelled = scans[scans["dseg_path"].notna()]
            if (labelled["dseg_reference_path"].notna() & (labelled["dseg_reference_path"] != labelled["path"])).any():
                return True
    return False


def _order(facts: Facts, cohorts: list[Cohort]) -> str:
    """What the participants were ordered by, as far as the cohorts have it."""
    known = {"age band": "age", "site": "site", "sex": "sex"}
    scans = [cohort.scans for cohort in cohorts if cohort.scans is not None]
    words = [
        word
        for word, column in known.items()
        if not scans or any(column in table and table[column].notna().any() for table in scans)
    ]
    return f"{_class_words(facts, cohorts)}{listed(words)}"


def _class_words(facts: Facts, cohorts: list[Cohort]) -> str:
    """The classes that the splits were balanced over, by cohort that has them: ``dementia, ``."""
    found = {}
    for cohort in cohorts:
        targets = [
            one.settings["target"]
            for one in facts.experiments.values()
            if one.task == "classification" and cohort.name in one.settings.get("cohorts", [])
        ]
        column = targets[0] if targets else "dementia"
        if cohort.scans is not None and column in cohort.scans and cohort.scans[column].notna().any():
            found.setdefault(column, []).append(cohort.title)
    return "".join(f"{column} (in {listed(titles)}), " for column, titles in found.items())


def _part_counts(table: pd.DataFrame) -> str:
    counts = table["part"].value_counts()
    told = [f"{int(counts.get(part, 0))} {PART_NAMES[part]}" for part in PARTS]
    if EXCLUDED in counts:
        told.append(f"{int(counts[EXCLUDED])} excluded")
    return f"{listed(told)} participants"


def _trained_on(experiments: list[Experiment]) -> list[str]:
    return list(dict.fromkeys(labels.cohort(name) for one in experiments for name in one.settings.get("cohorts", [])))


def _sample_counts(experiment: Experiment) -> Iterator[str]:
    if experiment.samples is None:
        return
    told = []
    samples = by_use(experiment.samples, experiment.folds)
    for part in labels.PARTS:
        rows = samples[samples["part"] == part]
        if len(rows):
            people = rows[["cohort", "participant_id"]].drop_duplicates()
            counts = f"{labels.counted(len(rows), 'scan')} of {labels.counted(len(people), 'participant')}"
            told.append(f"{counts} {USES[part]}")
    yield f"For {experiment.title}, there were {listed(told)}."
    if folds := folds_sentence(experiment.samples, experiment.folds):
        yield folds


def _leakage(facts: Facts) -> Iterator[str]:
    """What was counted across the parts of every experiment. The run itself stops where a count isn't 0."""
    tables = [one.samples for one in facts.experiments.values() if one.samples is not None]
    if not tables:
        return
    people = sum(int((table.groupby("participant_id")["part"].nunique() > 1).sum()) for table in tables)
    told = f"{people or 'No'} participant{' was' if people == 1 else 's were'} in more than one part of an experiment"
    if all("voxels_sha256" in table for table in tables):
        images = sum(int((table.groupby("voxels_sha256")["part"].nunique() > 1).sum()) for table in tables)
        told += (
            f", and {images or 'no'} image{' was' if images == 1 else 's were'} (compared by the sha256 of the voxels)"
        )
    yield f"{told}."
