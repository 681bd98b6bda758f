"""The report of a study: one page that opens from disk with no network, its figures and mosaics, the tables behind
them, what made them, and a zip of it all."""

import json
import os
import shutil
import time
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from neurocohort.files import folder_written_aside, write_json, write_text
from neurocohort.report import (
    claims,
    exclusions,
    gates,
    labels,
    mosaics,
    networks,
    pages,
    participants,
    provenance,
    quality,
    saliency,
    shift,
    subjects,
    training,
)
from neurocohort.report import results as outcomes
from neurocohort.report.checklists import checklists, parts_shown
from neurocohort.report.crate import write_crate
from neurocohort.report.development import folds_of, folds_sentence
from neurocohort.report.evaluations import evaluations_of, evaluations_sentence
from neurocohort.report.headline import headline
from neurocohort.report.methods import methods
from neurocohort.report.model_card import experiment_card, licences_of
from neurocohort.report.references import bibliography
from neurocohort.report.sources import Missing, Sources
from neurocohort.report.study import Folders, read_study

EARLIEST = (1980, 1, 1, 0, 0, 0)  # the first time a zip can hold: the archive's bytes depend on its content alone
PACKED = {".webp", ".png", ".zip"}

__all__ = ["headline", "write_report"]


def write_report(
    *,
    results: Path,
    data: Path,
    cohorts: list[str],
    experiments: dict[str, dict],
    study: str,
    demo: bool,
    configuration: dict,
    command: str,
    lock: Path,
    benchmarks: Path,
    output: Path,
) -> list[Missing]:
    """Write ``index.html``, ``figures/``, ``mosaics/<cohort>/``, ``subjects/<cohort>/``, ``tables/``, ``provenance.json``
    and ``report.zip`` into ``output``, which appears whole under its name or not at all.

    ``results``, ``data`` and ``benchmarks`` are the run's folders of these names; ``experiments`` is that block of the
    configuration, and ``configuration`` the whole of it, as validated. ``command`` is the command line of the run.
    Returns what was expected and missing; the page shows each of these as a red box that names the file.

    The date of the report is today's, or that of the environment variable SOURCE_DATE_EPOCH where it is set; it stands
    once on the page and once in ``provenance.json``.
    """
    written = read_study(Folders(results, data, benchmarks, lock), configuration, command)
    sources = written.sources
    moment = datetime.fromtimestamp(float(os.environ.get("SOURCE_DATE_EPOCH") or time.time()), UTC)
    with folder_written_aside(output) as aside:
        (aside / "figures").mkdir()
        flows = [participants.cohort_flow(sources, data, results, cohort, experiments) for cohort in cohorts]
        pictures = [path for cohort in cohorts for path in quality.mosaic_files(results, cohort)]
        size = mosaics.fitting_size(pictures)
        galleries = [quality.gallery(sources, results, cohort, aside, size) for cohort in cohorts]
        described = [
            _experiment(sources, data, results, name, settings, aside, configuration)
            | {"card": experiment_card(written.experiments[name], written)}
            for name, settings in experiments.items()
        ]
        shifts = shift.matrices(sources, results, experiments)
        made_by = provenance.collect(
            sources,
            results=results,
            data=data,
            cohorts=cohorts,
            experiments=experiments,
            study=study,
            configuration=configuration,
            command=command,
            lock=lock,
            benchmarks=benchmarks,
            created=moment.isoformat(timespec="seconds"),
        )
        date = moment.strftime("%-d %B %Y")
        subjects.write_pages(
            sources,
            pages.environment(),
            data=data,
            results=results,
            experiments=experiments,
            galleries=galleries,
            output=aside,
            configuration=configuration,
            study=study,
            demo=demo,
            date=date,
        )
        write_json(aside / "provenance.json", json.loads(json.dumps(made_by, default=str)))
        text = methods(written)
        write_text(aside / "methods.md", text.markdown)
        write_text(aside / "references.bib", bibliography(list(text.references)))
        verdicts = headline(results, experiments)
        anchors = {
            "verdict",
            "participants",
            "split",
            "quality",
            "learning",
            "results",
            "methods",
            "models",
            "provenance",
        }
        anchors |= {"external"} if any(one["external"] for one in described) else set()
        anchors |= {"saliency"} if any(one["saliency"] for one in described) else set()
        page = pages.index(
            methods=text,
            checklists=checklists(written, text, anchors | parts_shown(described, verdicts, made_by)),
            unseen=claims.unseen_sentence(described, experiments),
            rerun=claims.rerun_sentence(made_by),
            study=study,
            demo=demo,
            verdicts=gates.with_gates(verdicts, described, results),
            complete=gates.completeness_gate(sources.missing),
            flows=flows,
            galleries=galleries,
            experiments=described,
            shifts=shifts,
            provenance=made_by,
            downloads=[
                *_copy_tables(results, cohorts, list(experiments), aside),
                *exclusions.write_tables(flows, aside),
            ],
            missing=sources.missing,
            date=date,
        )
        write_text(aside / "index.html", page)
        write_crate(aside, made_by, licences=licences_of(written.cohorts.values()))
        _zip(aside, aside / "report.zip", study)
    return sources.missing


def _experiment(
    sources: Sources, data: Path, results: Path, name: str, settings: dict, output: Path, configuration: dict
) -> dict:
    samples = sources.table(
        results / "experiments" / name / "samples.tsv", f"the participants of {name}", participants.SAMPLE_COLUMNS
    )
    absent = isinstance(samples, Missing)
    folds = folds_of(settings, configuration)
    path = results / "experiments" / name / networks.FILE
    learned = sources.table(path, f"what the networks of {name} learned", networks.COLUMNS)
    return {
        "name": name,
        "title": labels.spaced(name),
        "task": settings["task"],
        "target": settings.get("target", ""),
        "cohorts": [labels.cohort(cohort) for cohort in settings.get("cohorts", [])],
        "flow": participants.experiment_flow(sources, results, name),
        "demographics": samples if absent else participants.demographics(samples, settings, folds),
        "folds": "" if absent else folds_sentence(samples, folds),
        "split": samples if absent else participants.split_check(sources, data, results, name, samples, folds),
        "evaluations": evaluations_sentence(
            evaluations_of(results, name, None if absent else samples, configuration), settings["target"]
        ),
        "networks": learned if isinstance(learned, Missing) else networks.Networks(learned),
        "runs": training.learning(sources, results, name, settings, output, folds),
        "sweep": training.sweep(sources, results, name, settings),
        "control": training.control(sources, results, name, settings),
        "saliency": saliency.saliency(sources, results, name, settings, output),
        **outcomes.outcome(sources, results, name, settings, samples, output, configuration),
    }


def _copy_tables(results: Path, cohorts: list[str], experiments: list[str], output: Path) -> list[dict]:
    """Copy the tables behind the page into ``tables/``; those that are absent stand in the ledger already."""
    kinds = {
        "qc.tsv": "quality numbers of every scan",
        "exclusions.tsv": "excluded scans with stage and reason",
        "split.tsv": "the part of every participant",
        "flow.tsv": "scans and participants left after each step",
        "samples.tsv": "the scans of the experiment and their parts",
        "metrics.tsv": "metrics with 95 % intervals, every model and group",
        "comparisons.tsv": "the network minus each baseline, paired, with 95 % intervals",
        "details.tsv": "what stands beside the metrics, and how each row was computed",
        "curves.tsv": "points of the curves with their bands",
        "confusion.tsv": "confusion matrices",
        "shift.tsv": "the headline metric by tested cohort and site",
        "spread.tsv": "the spread over seeds and folds",
        "predictions.tsv": "the network's predictions",
        "baselines.tsv": "the baselines' predictions",
    }
    folders = [(results / cohort, cohort, labels.cohort(cohort)) for cohort in cohorts]
    folders += [(results / "experiments" / name, name, labels.spaced(name)) for name in experiments]
    copied = []
    for folder, name, title in folders:
        for kind, text in kinds.items():
            if (folder / kind).is_file() and _has_rows(folder / kind):
                target = output / "tables" / f"{name}_{kind}"
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(folder / kind, target)
                copied.append(
                    {"file": f"tables/{target.name}", "of": title, "text": text, "bytes": target.stat().st_size}
                )
    return copied


def _has_rows(table: Path) -> bool:
    """Whether there is a line after the header: a regression has no confusion matrix, but its table."""
    with table.open(encoding="utf-8") as lines:
        return next(lines, None) is not None and next(lines, None) is not None


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
