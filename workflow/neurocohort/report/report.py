"""The report of a study: one page that opens from disk without a network, its figures and mosaics, the tables behind them, their
provenance, and a zip of it all."""

import os
import time
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from neurocohort.files import folder_written_aside, write_json, write_text
from neurocohort.report import claims, gates, mosaics, pages, participants, provenance, quality, shift, subjects
from neurocohort.report.applied_models import applied_models
from neurocohort.report.cards import Card
from neurocohort.report.checklists import checklists, parts_shown
from neurocohort.report.crate import write_crate
from neurocohort.report.development import folds_sentence
from neurocohort.report.downloads import write_downloads
from neurocohort.report.evaluations import evaluations_of, evaluations_sentence
from neurocohort.report.figures import Drawing
from neurocohort.report.formats import Control
from neurocohort.report.headline import headline
from neurocohort.report.longitudinal import longitudinal_analyses
from neurocohort.report.methods import methods
from neurocohort.report.model_card import Section, experiment_card, licences_of
from neurocohort.report.networks import Networks
from neurocohort.report.part import Content, Part
from neurocohort.report.participants import Demographics, SplitCheck, Step
from neurocohort.report.pretraining import pretrainings, start_sentence
from neurocohort.report.references import bibliography
from neurocohort.report.results import part_results
from neurocohort.report.saliency import saliency
from neurocohort.report.sources import Missing
from neurocohort.report.study import Experiment, Study
from neurocohort.report.sweeps import sweep
from neurocohort.report.training import Training, learning
from neurocohort.report.translation import translations

EARLIEST = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can store: the archive's bytes depend on its content alone
PACKED = {".webp", ".png", ".zip"}
SECTIONS = {"verdict", "participants", "quality", "methods", "provenance"}
OF_EXPERIMENTS = {"split", "learning", "results", "models"}  # left out where nothing was trained


@dataclass(frozen=True)
class Described:
    """An experiment as the page shows it. ``folds``: a sentence on its cross-validation, empty without; ``start``: one on the
    pretraining that it starts from, empty without; ``evaluations``: one on the models that were evaluated on its held-out
    participants; ``sweep``: one on what it chose."""

    name: str
    title: str
    task: str
    cohorts: list[str]
    flow: dict[str, list[Step]] | Missing
    demographics: list[Demographics] | Missing
    folds: str
    start: str
    split: SplitCheck | Missing
    evaluations: str
    networks: Networks | Missing
    card: list[Section]
    runs: list[Training]
    sweep: str | Missing
    control: Control | Missing | None
    saliency: Drawing | Missing | None
    held_out: Content
    external: list[Content]


def write_report(study: Study, output: Path) -> list[Missing]:
    """Write the report of a study.

    The report has ``index.html``, ``figures/``, ``mosaics/<cohort>/``, ``subjects/<cohort>/``, ``tables/``, ``methods.md``,
    ``provenance.json`` and ``report.zip``. Its date is today's, or that of the environment variable SOURCE_DATE_EPOCH.

    Args:
        study: The study.
        output: The report's folder, which appears complete under its name or not at all.

    Returns:
        What was expected and is missing; the page shows a red box with the file's name for each.
    """
    moment = datetime.fromtimestamp(float(os.environ.get("SOURCE_DATE_EPOCH") or time.time()), UTC)
    with folder_written_aside(output) as aside:
        (aside / "figures").mkdir()
        _write(study, aside, moment)
        _zip(aside, aside / "report.zip", study.name)
    return study.sources.missing


def _write(study: Study, output: Path, moment: datetime) -> None:
    cohorts, missing = study.cohorts.values(), study.sources.missing
    flows = [participants.cohort_flow(study, cohort) for cohort in cohorts]
    size = mosaics.fitting_size([path for cohort in cohorts for path in quality.mosaic_files(cohort)])
    galleries = [quality.gallery(cohort, output, size) for cohort in cohorts]
    described = [_described(study, experiment, output) for experiment in study.experiments.values()]
    pretrained, translated = pretrainings(study, output), translations(study, output)
    shifts = shift.matrices(study)
    longitudinal = longitudinal_analyses(study)
    applied = applied_models(study)
    made_by = provenance.collect(study, moment.isoformat(timespec="seconds"))
    date = moment.strftime("%-d %B %Y")
    subjects.write_pages(study, pages.environment(), galleries, output, date)
    write_json(output / "provenance.json", made_by.as_json())
    text = methods(study)
    write_text(output / "methods.md", text.markdown)
    write_text(output / "references.bib", bibliography(list(text.references)))
    verdicts = headline(study.experiments.values())
    sections = SECTIONS | (OF_EXPERIMENTS if described else set())
    sections |= {name for name in ("external", "saliency") if any(getattr(one, name) for one in described)}
    splits = {one.title: one.split for one in described}
    page = pages.index(
        provenance=made_by,
        methods=text,
        checklists=checklists(study, text, sections | parts_shown(described, verdicts, made_by)),
        unseen=claims.unseen_sentence(splits, study.configuration["experiments"]),
        rerun=claims.rerun_sentence(made_by),
        study=study.name,
        demo=study.demo,
        native=study.native,
        verdicts=_cards(study, verdicts, described),
        complete=gates.completeness_gate(missing),
        flows=flows,
        galleries=galleries,
        experiments=described,
        pretrainings=pretrained,
        translations=translated,
        shifts=shifts,
        longitudinal=longitudinal,
        applied_models=applied,
        downloads=write_downloads(study, flows, output),
        missing=missing,
        date=date,
    )
    write_text(output / "index.html", page)
    write_crate(output, made_by.as_json(), licences=licences_of(cohorts))


def _described(study: Study, experiment: Experiment, output: Path) -> Described:
    samples, folds = experiment.samples, experiment.folds
    absent = isinstance(samples, Missing)
    return Described(
        name=experiment.name,
        title=experiment.heading,
        task=experiment.task,
        cohorts=[cohort.title for cohort in experiment.cohorts],
        flow=participants.experiment_flow(experiment),
        demographics=samples if absent else participants.demographics(samples, experiment.settings, folds),
        folds="" if absent else folds_sentence(samples, folds),
        start=start_sentence(study, experiment),
        split=participants.split_check(experiment),
        evaluations=evaluations_sentence(evaluations_of(study, experiment), experiment.shown_target),
        networks=experiment.networks,
        card=experiment_card(experiment, study),
        runs=learning(experiment, output),
        sweep=sweep(experiment),
        control=experiment.control,
        saliency=saliency(experiment, output),
        held_out=part_results(Part(experiment, output)),
        external=[part_results(Part(experiment, output, cohort)) for cohort in experiment.external],
    )


def _cards(study: Study, verdicts: list, described: list[Described]) -> list[Card]:
    splits = {one.name: one.split for one in described}
    cards = []
    for verdict in verdicts:
        experiment = study.experiments[verdict.experiment]
        comparison = gates.best_comparison(verdict, experiment.comparisons)
        known = experiment.networks, experiment.control
        passed = gates.experiment_gates(verdict, splits[experiment.name], comparison, *known)
        cards.append(Card(verdict, passed, gates.difference_sentence(verdict, comparison)))
    return cards


def _zip(folder: Path, target: Path, study: str) -> None:
    """Zip ``folder`` under a top folder named after the study, in the order of names, with a fixed date."""
    top = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in study) or "study"
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != target)
    with zipfile.ZipFile(target, "w") as archive:
        for path in files:
            entry = zipfile.ZipInfo(f"{top}_report/{path.relative_to(folder).as_posix()}", EARLIEST)
            entry.compress_type = zipfile.ZIP_STORED if path.suffix in PACKED else zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
