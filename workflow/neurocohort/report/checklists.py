"""The reporting checklists TRIPOD+AI and CLAIM: the items that this report answers, where, and the items for the author.

The items are in ``checklists/claim.yaml`` and ``tripod_ai.yaml``, in our own words; the answers are in ``answers.yaml``. An
answer is given only where this report shows what it names. The rest of an item is for the author.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from neurocohort.report.headline import Verdict
from neurocohort.report.methods import Methods
from neurocohort.report.provenance import Provenance
from neurocohort.report.sources import Missing
from neurocohort.report.study import Cohort, Study
from neurocohort.text import listed

FOLDER = Path(__file__).parent / "checklists"
FILLED, AUTHOR = "filled", "for the author"


class Answer(BaseModel):
    """An answer of ``answers.yaml``, whose first lines describe the keys."""

    anchor: str
    sentence: str
    pattern: str = ""
    paragraph: str = ""
    needs: frozenset[str] = frozenset()


class Question(BaseModel):
    """An item of a guideline: its number, its topic, the name of its answer, and what only the author can answer."""

    id: str
    text: str
    answer: str = ""
    author: str = ""


class Section(BaseModel):
    """A section of a guideline."""

    heading: str
    items: list[Question]


class Guideline(BaseModel):
    """A checklist's file."""

    title: str
    name: str
    source: str
    sections: list[Section]


@dataclass(frozen=True)
class Item:
    """An item with its answer.

    Attributes:
        id: The item's number.
        text: Its topic.
        status: FILLED or AUTHOR.
        sentence: What the report has on it; empty for nothing.
        anchor: Where the report has it.
        author: What the author has to add.
    """

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
class Report:
    """What the answers depend on.

    Attributes:
        methods: The methods text.
        shown: The ids of the page's sections, and the names of `parts_shown` and `facts_of`.
        prepared: The cohorts whose scans were prepared before they reached the workflow.
    """

    methods: Methods
    shown: set[str]
    prepared: list[Cohort]

    def supports(self, answer: Answer) -> bool:
        """Whether the report shows what the answer names."""
        paragraphs = {one.name: one.text for one in self.methods.paragraphs}
        name = answer.paragraph or answer.anchor.removeprefix("methods-")
        on_page = name in paragraphs if answer.anchor.startswith("methods-") else answer.anchor in self.shown
        found = not answer.pattern or re.search(answer.pattern, paragraphs.get(name, ""))
        return bool(on_page and found and answer.needs <= self.shown)


def checklists(study: Study, methods: Methods, shown: set[str]) -> list[Checklist]:
    """Both checklists for a report.

    Args:
        study: The study.
        methods: Its methods text.
        shown: The ids of the page's sections, and the names of `parts_shown`.
    """
    prepared = [
        cohort
        for cohort in study.cohorts.values()
        if cohort.settings.get("skull_stripped") or cohort.settings.get("mni_space")
    ]
    report = Report(methods, shown | facts_of(study, prepared), prepared)
    return [_checklist(name, report) for name in ("tripod_ai", "claim")]


def parts_shown(described: Sequence[Any], verdicts: list[Verdict], provenance: Provenance) -> set[str]:
    """The parts that the page shows for every experiment, by the names that answers use.

    Args:
        described: The experiments as the page describes them.
        verdicts: The records of `headline`.
        provenance: The record of `provenance.collect`.
    """
    tables = [table for one in described for part in one.external for table in part.tables]
    maps = [one.saliency for one in described if one.saliency]
    parts = {
        "split check": [one.split for one in described],
        "flow": [one.flow for one in described],
        "demographics": [one.demographics for one in described],
        "cases": [one.held_out.cases for one in described],
        "saliency maps": maps,
        "external results": tables,
        "verdicts": [one.state != "missing" for one in verdicts],
        "commit": [provenance.git],
    }
    return {
        name for name, found in parts.items() if found and all(one and not isinstance(one, Missing) for one in found)
    }


def facts_of(study: Study, prepared: list[Cohort]) -> set[str]:
    """What answers need to be true of the study."""
    facts = set()
    if not prepared and not any(cohort.settings.get("split_file") for cohort in study.cohorts.values()):
        facts.add("automatic inputs")  # a given split may exclude by hand
    if study.experiments and all(len(one.members) == 1 for one in study.experiments.values()):
        facts.add("one network each")
    return facts


@cache
def answers() -> dict[str, list[Answer]]:
    """The answers of ``answers.yaml`` by name."""
    table = yaml.safe_load((FOLDER / "answers.yaml").read_text(encoding="utf-8"))
    return {name: [Answer(**one) for one in alternatives] for name, alternatives in table.items()}


def _checklist(name: str, report: Report) -> Checklist:
    table = Guideline(**yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))
    sections = tuple((one.heading, tuple(item_of(item, report) for item in one.items)) for one in table.sections)
    return Checklist(table.title, table.name, table.source, sections)


def item_of(question: Question, report: Report) -> Item:
    """The item with the first of its answers that applies."""
    author = question.author
    if question.answer == "preprocessing" and not author and report.prepared:
        cohorts = listed(cohort.title for cohort in report.prepared)
        author = f"How the scans of {cohorts} were prepared before they reached the workflow."
    alternatives = answers()[question.answer] if question.answer else []
    answer = next((one for one in alternatives if report.supports(one)), None)
    if answer is None and not author:
        author = "Nothing in this report answers this item."
    sentence, anchor = (answer.sentence, answer.anchor) if answer else ("", "")
    return Item(question.id, question.text, AUTHOR if author else FILLED, sentence, anchor, author)
