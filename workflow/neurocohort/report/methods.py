"""The methods text: what this study did, in the past tense, from its configuration and its results.

The sentences are Jinja templates, one for each paragraph, in ``templates/methods/``. A sentence appears only where its option was
on and its record or table can be read. Citations are written ``[@key]``, which Pandoc reads with the report's ``references.bib``;
the page shows numbers.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from neurocohort.dataset import quality_flags
from neurocohort.dataset.targets import class_names
from neurocohort.evaluation import (
    age_gap,
    brain_age,
    classification_details,
    details,
    evaluate,
    harmonisation,
    measures,
    outer_folds,
    shift,
    site_prediction,
    tissue_baselines,
    translation,
    translation_baselines,
    voxel_baselines,
)
from neurocohort.imaging import (
    bias_field,
    brain_extraction,
    deformable,
    diffusion,
    field_of_view,
    intensity,
    learned_constants,
    mni_space,
    native,
    registration,
    rigid,
    template,
    tissues,
)
from neurocohort.learning import constants, published
from neurocohort.learning.session_networks import network_module
from neurocohort.report import labels, methods_numbers, origins, sweeps
from neurocohort.report.development import folds_sentence
from neurocohort.report.evaluations import evaluations_of, evaluations_sentence
from neurocohort.report.markdown import escaped
from neurocohort.report.networks import networks_sentence
from neurocohort.report.references import Reference, citations, cited, numbered
from neurocohort.report.sources import Missing
from neurocohort.report.study import Experiment, Study, missing_of
from neurocohort.settings import adaptation, nnunet_rules
from neurocohort.sources import gradients
from neurocohort.study import members
from neurocohort.study.published import another_grid
from neurocohort.text import listed, plain_number, times

DESCRIBED = (  # modules whose constants the text states, by their own names
    *(
        bias_field,
        brain_extraction,
        deformable,
        diffusion,
        field_of_view,
        gradients,
        intensity,
        learned_constants,
        mni_space,
        native,
        registration,
        rigid,
        template,
        tissues,
    ),
    *(
        brain_age,
        classification_details,
        details,
        evaluate,
        harmonisation,
        measures,
        outer_folds,
        shift,
        site_prediction,
    ),
    *(tissue_baselines, translation, translation_baselines, voxel_baselines),
    *(adaptation, constants, members, nnunet_rules, origins, published, quality_flags),
)
TEMPLATES = Path(__file__).parent / "templates" / "methods"
HEADINGS = {
    "data": "Data",
    "preprocessing": "Preprocessing",
    "split": "Split",
    "training": "Networks and training",
    "baselines": "Baselines and controls",
    "evaluation": "Evaluation and statistics",
    "longitudinal": "Sessions over time",
    "software": "Software",
}


@dataclass(frozen=True)
class Paragraph:
    """One paragraph: ``name`` (its anchor is ``methods-<name>``), ``heading``, and its ``text`` with citations ``[@key]``."""

    name: str
    heading: str
    text: str


@dataclass(frozen=True)
class Methods:
    """The paragraphs with a sentence, the references in the order of their citation, and the files that were missing."""

    paragraphs: tuple[Paragraph, ...]
    references: tuple[Reference, ...]
    missing: tuple[Missing, ...] = ()

    def pieces(self, paragraph: Paragraph) -> list[str | list[int]]:
        """The paragraph's text for the page; each citation is a list of the references' numbers, from 1."""
        return numbered(paragraph.text, list(self.references))

    @property
    def markdown(self) -> str:
        """Markdown with Pandoc's citations, to be converted with ``pandoc --citeproc methods.md``."""
        parts = ["---\nbibliography: references.bib\n---\n\n# Methods"]
        parts += [f"## {paragraph.heading}\n\n{_markdown(paragraph.text)}" for paragraph in self.paragraphs]
        return "\n\n".join([*parts, "## References"]) + "\n"

    @property
    def plain(self) -> str:
        """Plain text with numbered citations and the references, as the page's button copies it."""
        parts = []
        for paragraph in self.paragraphs:
            words = [
                piece if isinstance(piece, str) else f"[{', '.join(map(str, piece))}]"
                for piece in self.pieces(paragraph)
            ]
            parts.append(f"{paragraph.heading}\n{''.join(words)}")
        entries = [f"{place}. {reference.text}" for place, reference in enumerate(self.references, start=1)]
        return "\n\n".join([*parts, "\n".join(["References", *entries])]) + "\n"


def methods(study: Study) -> Methods:
    """The methods text of a study."""
    environment = _environment(study)
    paragraphs = []
    for name, heading in HEADINGS.items():
        text = _folded(environment.get_template(f"{name}.j2").render())
        if text:
            paragraphs.append(Paragraph(name, heading, text))
    references = cited(paragraph.text for paragraph in paragraphs)
    return Methods(tuple(paragraphs), tuple(references), tuple(dict.fromkeys(_missing(study))))


def _environment(study: Study) -> Environment:
    """The templates' environment: the study, the constants of the modules that the text describes, and words."""
    made = Environment(  # noqa: S701 - plain text: Markdown and the page escape it
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.globals |= {module.__name__.rpartition(".")[2]: module for module in DESCRIBED}
    made.globals |= {
        "numbers": methods_numbers,
        "sweeps": sweeps,
        "study": study,
        "another_grid": another_grid,
        "block": study.block,
        "cohorts": list(study.cohorts.values()),
        "experiments": list(study.experiments.values()),
        "pretrainings": list(study.pretrainings.values()),
        "translations": list(study.translations.values()),
        "class_names": class_names,
        "metric": labels.metric,
        "evaluations": lambda one: evaluations_sentence(evaluations_of(study, one), one.shown_target),
        "folds_sentence": folds_sentence,
        "networks_sentence": networks_sentence,
        "session_titles": lambda names: [network_module(name).TITLE for name in names],
        "shared": _shared,
    }
    made.filters |= {
        "cohort": labels.cohort,
        "capitalize_first": lambda text: text[:1].upper() + text[1:],
        "counted": labels.counted,
        "having": lambda items, key: [one for one in items if one.settings.get(key)],
        "listed": listed,
        "lower_first": lambda text: text[:1].lower() + text[1:],
        "number": plain_number,
        "percent": lambda fraction: f"{plain_number(round(100 * fraction, 6))} %",
        "span": methods_numbers.span,
        "times": times,
        "titles": lambda items: listed(one.title for one in items),
        "trained_cohorts": methods_numbers.trained_cohorts,
        "were": lambda count, noun: f"{labels.counted(count, noun)} {'was' if count == 1 else 'were'}",
        "with_counts": lambda counts, between=", ": between.join(f"{name} {count}" for name, count in counts.items()),
        "without": lambda items, key: [one for one in items if not one.settings.get(key)],
    }
    made.tests |= {
        "filled": lambda table: isinstance(table, pd.DataFrame) and not table.empty,
        "missing": lambda item: isinstance(item, Missing),
        "fitted_on_tissue_maps": lambda one: one.baselines["model"].isin(tissue_baselines.TISSUE_MODELS).any(),
        "fitted_on_gaps": lambda one: (one.baselines["model"] == age_gap.GAP).any(),
        "fitted_on_voxels": lambda one: one.baselines["model"].isin(("voxel_ridge", "voxel_svm")).any(),
        "harmonised": lambda one: one.baselines["model"].str.endswith(harmonisation.COMBAT).any(),
        "recorded": lambda one: bool(methods_numbers.first_run(one).settings),
        "trained": methods_numbers.runs_of,
        "with_details": methods_numbers.with_details,
        "with_saliency": methods_numbers.with_saliency,
        "with_regions": methods_numbers.with_regions,
    }
    return made


def _shared(experiments: Iterable[Experiment], sentence: Callable[[Experiment], str]) -> str:
    """The sentences of experiments; those that share one are named before it, unless all do."""
    groups: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        groups.setdefault(_folded(sentence(experiment)), []).append(experiment)
    if len(groups) == 1:
        (text,) = groups
        return text[:1].upper() + text[1:]
    return " ".join(f"For {listed(one.title for one in group)}, {text}" for text, group in groups.items() if text)


def _missing(study: Study) -> list[Missing]:
    """The tables and records that the text needs and that can't be read."""
    needed: list[object] = []
    trained_on = methods_numbers.trained_cohorts(study.trained)
    for cohort in study.cohorts.values():
        needed += [cohort.scans, cohort.ingest_exclusions, cohort.exclusions, cohort.quality]
        needed += [cohort.split] if cohort in trained_on else []
    for one in study.experiments.values():
        needed += [one.samples, one.flow, one.metrics, one.baselines, *one.runs.values(), one.sweep, one.control]
        needed += [one.learning_curve, one.adaptation, one.few_labels, one.generation, one.counterfactual]
        needed += [one.regions, one.region_record]
    for one in (*study.pretrainings.values(), *study.translations.values()):
        needed += one.runs.values()
    return missing_of(needed)


def _folded(text: str) -> str:
    return " ".join(text.split())


def _markdown(text: str) -> str:
    """The text with everything but its citations escaped."""
    words, end = "", 0
    for citation in citations(text):
        words += escaped(text[end : citation.start()]) + citation[0]
        end = citation.end()
    return words + escaped(text[end:])
