"""The methods text: what this study did, in the past tense, from the configuration that ran and from what it left.

Each sentence follows from a value of the configuration or from a record or table of the run; where an option was off or a
record is missing, its sentence isn't there. Citations stand in the text as ``[@key]``, which Pandoc reads with the
report's ``references.bib``; the page shows numbers.
"""

from dataclasses import dataclass
from pathlib import Path

from neurocohort.report.evaluations import evaluations_of
from neurocohort.report.markdown import escaped
from neurocohort.report.methods_data import data_sentences, split_sentences
from neurocohort.report.methods_evaluation import evaluation_sentences, software_sentences
from neurocohort.report.methods_facts import gather
from neurocohort.report.methods_learning import baseline_sentences, training_sentences
from neurocohort.report.methods_preprocessing import preprocessing_sentences
from neurocohort.report.references import CITATION, Reference, citations, cited, numbered
from neurocohort.report.sources import Missing, Sources

PARAGRAPHS = (
    ("data", "Data", data_sentences),
    ("preprocessing", "Preprocessing", preprocessing_sentences),
    ("split", "Split", split_sentences),
    ("training", "Networks and training", training_sentences),
    ("baselines", "Baselines and controls", baseline_sentences),
    ("evaluation", "Evaluation and statistics", evaluation_sentences),
    ("software", "Software", software_sentences),
)


@dataclass(frozen=True)
class Paragraph:
    """One paragraph: ``name`` (its anchor is ``methods-<name>``), ``heading``, and its ``sentences`` with ``[@key]``."""

    name: str
    heading: str
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        """The sentences as one text."""
        return " ".join(self.sentences)


@dataclass(frozen=True)
class Methods:
    """The paragraphs that have a sentence, the references in the order of their citation, and what was missing for it."""

    paragraphs: tuple[Paragraph, ...]
    references: tuple[Reference, ...]
    missing: tuple[Missing, ...] = ()

    def pieces(self, paragraph: Paragraph) -> list[str | list[int]]:
        """The paragraph's text, citations as lists of the references' numbers (from 1), for the page."""
        return numbered(paragraph.text, list(self.references))

    @property
    def markdown(self) -> str:
        """The text as Markdown with Pandoc's citations: ``pandoc --citeproc methods.md`` beside ``references.bib``."""
        parts = ["---\nbibliography: references.bib\n---\n\n# Methods"]
        parts += [f"## {paragraph.heading}\n\n{_markdown(paragraph.text)}" for paragraph in self.paragraphs]
        return "\n\n".join([*parts, "## References"]) + "\n"

    @property
    def plain(self) -> str:
        """The text with numbered citations and references, as the page's button copies it."""
        parts = []
        for paragraph in self.paragraphs:
            words = [piece if isinstance(piece, str) else _brackets(piece) for piece in self.pieces(paragraph)]
            parts.append(f"{paragraph.heading}\n{''.join(words)}")
        listed = [f"{place}. {reference.text}" for place, reference in enumerate(self.references, start=1)]
        return "\n\n".join([*parts, "\n".join(["References", *listed])]) + "\n"


def methods(
    sources: Sources,
    *,
    results: Path,
    data: Path,
    cohorts: list[str],
    experiments: dict[str, dict],
    configuration: dict,
    packages: list[dict] | None = None,
) -> Methods:
    """The methods text of a run.

    ``results``, ``data``: the run's folders; ``experiments``: that block of the configuration; ``configuration``: the whole
    of it, as validated; ``packages``: `locked_packages`' records (name, locked, installed), for the versions. What the text
    needs and can't be read goes into the ledger of ``sources`` and into ``missing``.
    """
    facts = gather(sources, results, data, cohorts, experiments, configuration, packages or [])
    for name, experiment in facts.experiments.items():
        experiment.evaluations = evaluations_of(results, name, experiment.samples, configuration)
    paragraphs = []
    for name, heading, sentences in PARAGRAPHS:
        if found := tuple(sentences(facts)):
            paragraphs.append(Paragraph(name, heading, found))
    references = cited(paragraph.text for paragraph in paragraphs)
    return Methods(tuple(paragraphs), tuple(references), tuple(facts.missing))


def without_citations(text: str) -> str:
    """``text`` with its citations taken out, for places that have no list of references."""
    return CITATION.sub("", text).replace(" .", ".").replace(" ,", ",").replace("  ", " ")


def _markdown(text: str) -> str:
    """The text with all but its citations escaped."""
    words, end = "", 0
    for citation in citations(text):
        words += escaped(text[end : citation.start()]) + citation[0]
        end = citation.end()
    return words + escaped(text[end:])


def _brackets(numbers: list[int]) -> str:
    return f"[{', '.join(map(str, numbers))}]"
