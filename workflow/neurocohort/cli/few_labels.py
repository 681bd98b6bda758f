"""The subcommands of experiments with few label maps: the scans to learn from without one, and what they brought."""

from pathlib import Path
from typing import Annotated

import typer

from neurocohort.cli.app import command


@command
def select_unlabelled(
    data: Path,
    results: Path,
    labelled: Path,
    output: Path,
    settings: Annotated[str, typer.Option(help="SelectionSettings as JSON")],
) -> None:
    """Select the scans of an experiment's training and validation parts that aren't among its LABELLED samples."""
    from neurocohort.dataset.samples import read_cohort_tables
    from neurocohort.dataset.unlabelled import unlabelled_samples
    from neurocohort.files import read_table, write_table
    from neurocohort.settings.selection import SelectionSettings

    wanted = SelectionSettings.read(settings)
    tables = read_cohort_tables(data, results, wanted.cohorts)
    query = {"query": wanted.filter, "left_out_site": wanted.left_out_site}
    write_table(output, unlabelled_samples(tables, read_table(labelled), **query))


@command
def few_labels(
    output: Path,
    results: Path,
    intervals: Annotated[str, typer.Option(help="the keys `evaluation` of the configuration as JSON")],
    experiment: Annotated[str, typer.Option(help="the segmentation that learned from scans without labels")],
    labels_only: Annotated[str, typer.Option(help="the same without these scans")],
) -> None:
    """Compare a segmentation with and without scans that have no label map, on the same held-out participants."""
    from neurocohort.evaluation.few_labels import few_labels as run
    from neurocohort.evaluation.intervals import Bootstrap
    from neurocohort.files import read_table, write_table
    from neurocohort.learning.outcomes import NO
    from neurocohort.settings.evaluation import Evaluation

    wanted, folder = Evaluation.read(intervals), results / "experiments"
    own, other = (read_table(folder / name / "predictions.tsv") for name in (experiment, labels_only))
    networks = [read_table(folder / name / "networks.tsv") for name in (experiment, labels_only)]
    learned = tuple(bool((table["learned"] != NO).any()) for table in networks)
    write_table(output, run(own, other, (learned[0], learned[1]), Bootstrap(wanted.resamples, wanted.seed)))
