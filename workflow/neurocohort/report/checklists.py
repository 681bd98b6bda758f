"""The reporting checklists TRIPOD+AI and CLAIM: which of their items this report fills, where, and which are the author's.

The items stand in ``checklists/*.yaml``, in our own words. An item is filled only by an answer of this module, and an
answer is given only where what it names stands in this report; whatever an item needs beside that is the author's.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from neurocohort.report import labels
from neurocohort.report.methods import Methods
from neurocohort.text import listed
from neurocohort.report.sources import Missing

FOLDER = Path(__file__).parent / "checklists"
CHECKLISTS = ("tripod_ai", "claim")
FILLED, AUTHOR = "filled", "for the author"


@dataclass(frozen=True)
class Item:
    """An item's number and topic; ``status``: filled or for the author; ``sentence``: what the report has for it, and
    ``anchor``: where (empty for none); ``author``: what is left to say."""

    id: str
    text: str
    status: str
    sentence: str
    anchor: str
    author: str


@dataclass(frozen=True)
class Checklist:
    """A checklist: ``sections`` are headings with their items."""

    title: str
    name: str
    source: str
    sections: tuple[tuple[str, tuple[Item, ...]], ...]

    @property
    def items(self) -> list[Item]:
        return [item for _, items in self.sections for item in items]

    @property
    def filled(self) -> int:
        return sum(item.status == FILLED for item in self.items)


@dataclass(frozen=True)
class Held:
    """What the report holds: its methods text, the experiments as the page describes them, the ids of its sections, its
    verdicts (`headline`), and its provenance."""

    methods: Methods
    experiments: list[dict]
    sections: set[str]
    verdicts: list[dict]
    provenance: dict

    def says(self, paragraph: str, pattern: str = "") -> bool:
        """Whether a paragraph of the methods text is there and holds ``pattern``."""
        found = [one.text for one in self.methods.paragraphs if one.name == paragraph]
        return bool(found) and re.search(pattern, found[0]) is not None

    @property
    def prepared(self) -> list[str]:
        """The cohorts whose scans came prepared by others."""
        cohorts = (self.provenance.get("configuration") or {}).get("cohorts") or {}
        return [
            labels.cohort(name)
            for name, settings in cohorts.items()
            if settings.get("skull_stripped") or settings.get("mni_space")
        ]

    def every(self, key: str) -> bool:
        """Whether every experiment has ``key``, neither empty nor missing."""
        found = [one.get(key) for one in self.experiments]
        return bool(found) and all(value and not isinstance(value, Missing) for value in found)


Answer = Callable[[Held], tuple[str, str] | None]  # a sentence and the anchor that it leads to, or None


def checklists(
    methods: Methods, experiments: list[dict], sections: set[str], verdicts: list[dict], provenance: dict
) -> list[Checklist]:
    """Both checklists for this report.

    ``experiments``: the dicts that describe them on the page (flow, demographics, split, runs, held_out, external);
    ``sections``: the ids of the page's sections; ``verdicts``: `headline`'s records; ``provenance``: `collect`'s.
    """
    held = Held(methods, experiments, sections, verdicts, provenance)
    return [_checklist(name, held) for name in CHECKLISTS]


def _checklist(name: str, held: Held) -> Checklist:
    table = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    sections = tuple((one["heading"], tuple(_item(item, held) for item in one["items"])) for one in table["sections"])
    return Checklist(table["title"], table["name"], table["source"], sections)


def _item(item: dict, held: Held) -> Item:
    author = item.get("author", "")
    if item.get("answer") == "preprocessing" and not author and held.prepared:
        author = f"How the scans of {listed(held.prepared)} were prepared before they reached the workflow."
    found = ANSWERS[item["answer"]](held) if "answer" in item else None
    if found and found[1].startswith("methods-"):
        found = found if held.says(found[1].removeprefix("methods-")) else None
    elif found and found[1] not in held.sections:
        found = None
    sentence, anchor = found or ("", "")
    if not found and not author:
        author = "Nothing in this report answers it."
    return Item(item["id"], item["text"], AUTHOR if author else FILLED, sentence, anchor, author)


def _methods(paragraph: str, sentence: str, pattern: str = "") -> Answer:
    """An answer that a paragraph of the methods text gives, where it holds ``pattern``."""
    return lambda held: (sentence, f"methods-{paragraph}") if held.says(paragraph, pattern) else None


def _described(key: str, sentence: str, anchor: str) -> Answer:
    """An answer that a part of every experiment's description gives."""
    return lambda held: (sentence, anchor) if held.every(key) else None


def _automatic(held: Held) -> tuple[str, str] | None:
    """Not where a cohort came prepared by others, or with a split that may exclude by hand."""
    cohorts = (held.provenance.get("configuration") or {}).get("cohorts") or {}
    if held.prepared or any(one.get("split_file") for one in cohorts.values()):
        return None
    return "Inputs were computed by programs alone, without a person's judgement.", "methods-preprocessing"


def _performance(held: Held) -> tuple[str, str] | None:
    if not held.verdicts or any(one["verdict"] == "missing" for one in held.verdicts):
        return None
    return (
        "The tables of results give each metric with its 95 % interval, of the network and of every baseline.",
        "results",
    )


def _external(held: Held) -> tuple[str, str] | None:
    tables = [
        table for one in held.experiments for part in one.get("external") or [] for table in part.get("tables", [])
    ]
    if not tables or any(isinstance(table, Missing) for table in tables):
        return None
    return "External cohorts were tested, on which the experiment did not train.", "external"


def _ensemble(held: Held) -> tuple[str, str] | None:
    if held.says("training", r"were averaged"):
        return "The members of each ensemble and their mean are described.", "methods-training"
    if held.every("runs") and all(len(one["runs"]) == 1 for one in held.experiments):
        return "There was no ensemble: one network was trained for each experiment.", "methods-training"
    return None


def _differences(held: Held) -> tuple[str, str] | None:
    if not held.every("demographics"):
        return None
    return (
        "The table of participants has each part and cohort, so that they can be compared.",
        "participants",
    )


def _by_site(held: Held) -> tuple[str, str] | None:
    pattern = r"computed by [^.]*\bsite\b|each tested cohort and site"
    return ("Results are given by site, too.", "results") if held.says("evaluation", pattern) else None


def _robustness(held: Held) -> tuple[str, str] | None:
    pattern = r"results were also computed|each tested cohort and site|judged by itself"
    found = held.says("evaluation", pattern)
    return ("Results are given by group as well as for all.", "results") if found else None


def _operating_point(held: Held) -> tuple[str, str] | None:
    found = held.says("evaluation", "sensitivity, specificity, predictive values.*Youden's index")
    sentence = (
        "Sensitivity, specificity and predictive values at the threshold chosen on the validation part, with intervals."
    )
    return (sentence, "results") if found else None


def _code(held: Held) -> tuple[str, str] | None:
    if not (held.provenance.get("git") or {}).get("commit"):
        return None
    return "The commit, the lock's hash and the command are given.", "provenance"


def _weights(held: Held) -> tuple[str, str] | None:
    found = "models" in held.sections
    return (
        ("Each network's card says where its weights are; the settings are in the provenance.", "models")
        if found
        else None
    )


def _saliency(held: Held) -> tuple[str, str] | None:
    found = [one["saliency"] for one in held.experiments if one.get("saliency")]
    if not found or any(isinstance(one, Missing) for one in found):
        return None
    return "Saliency averaged in template space, beside that of random weights.", "saliency"


def _failures(held: Held) -> tuple[str, str] | None:
    found = [(one.get("held_out") or {}).get("cases") for one in held.experiments]
    return ("The best, the median and the worst cases with their images.", "results") if found and all(found) else None


ANSWERS: dict[str, Answer] = {
    "goal": _methods("data", "What each experiment predicted is named.", "The experiment"),
    "data": _methods("data", "Sources with counts, and with ages, sexes and sites where they are known."),
    "exclusions": _methods(
        "data", "Exclusions are counted by stage; each has a row with its reason.", "excluded at ingest|No scan"
    ),
    "selection": _methods("data", "The scans that each experiment took, step by step.", "were used"),
    "target": _methods(
        "data", "The target of each experiment is named, with its coding where the cohort states it.", "The experiment"
    ),
    "reference_labels": _methods("data", "The reference segmentations are named.", "The reference was"),
    "missing_values": _methods(
        "data", "Scans without a value of the target were left out and are counted.", "step “with a|no scan lacked"
    ),
    "preprocessing": _methods(
        "preprocessing",
        "Every step of the workflow with its settings, and the limits beyond which a scan was excluded.",
    ),
    "predictors": _methods(
        "training", "The network's input is the preprocessed volume; no predictor was chosen by hand.", "volumes of"
    ),
    "automatic": _automatic,
    "poor_input": _methods("preprocessing", "The limits beyond which a scan is refused.", "A scan was excluded"),
    "split": _methods(
        "split", "How participants were assigned, the shares and the seed, and the counts.", "were divided|was given"
    ),
    "disjoint": _described(
        "split", "Parts are disjoint by participant; participants and images in two parts are counted.", "split"
    ),
    "model": _methods("training", "Architecture, size, input and output of each network."),
    "software": _methods("software", "Programs with their versions; all packages are in the provenance.", "Snakemake"),
    "initialisation": _methods(
        "training", "Whether from random weights, with the seed, or from given ones.", "random weights|started from"
    ),
    "training": _methods("training", "Loss, optimiser, schedule, batches, augmentation and epochs.", "AdamW"),
    "final_model": _methods("training", "Which weights were kept, and how they were chosen.", "weights kept were"),
    "ensemble": _ensemble,
    "metrics": _methods("evaluation", "Metrics and curves, by task.", "measured by"),
    "uncertainty": _methods(
        "evaluation", "Intervals from resampling participants, and which kind each is.", "confidence intervals"
    ),
    "robustness": _robustness,
    "by_site": _by_site,
    "fairness": _methods(
        "evaluation", "Results by sex and age band, where groups are large enough.", "computed by [^.]*(sex|age)"
    ),
    "imbalance": _methods("training", "The classes had equal weight in the loss.", "classes (had|with) equal weight"),
    "output": _methods("evaluation", "Probabilities, and the threshold with how it was chosen.", "Youden's index"),
    "updating": _methods(
        "evaluation", "How many models were evaluated on the held-out participants.", "(?i)on record, "
    ),
    "saliency": _saliency,
    "internal": _performance,
    "external": _external,
    "differences": _differences,
    "flow": _described("flow", "Participants and scans left after each step, with those lost.", "participants"),
    "demographics": _described(
        "demographics", "Age, sex, target and, where known, sites of each part and cohort.", "participants"
    ),
    "performance": _performance,
    "operating_point": _operating_point,
    "failures": _failures,
    "configuration": lambda held: ("The whole configuration and the command are in the provenance.", "provenance"),
    "code": _code,
    "licences": lambda held: ("The terms of each cohort stand in the model cards.", "models"),
    "weights": _weights,
}
