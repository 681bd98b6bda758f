"""The subcommand that measures how important the regions of an atlas are for the networks of an experiment."""

from pathlib import Path
from typing import Annotated

import typer

from neurocohort.cli.app import Files, command


@command
def regions(
    samples: Path,
    results: Path,
    template: Path,
    folder: Path,
    task: str,
    intervals: Annotated[str, typer.Option(help="the keys `evaluation` of the configuration as JSON")],
    settings: Annotated[str, typer.Option(help="the keys `saliency` of the configuration as JSON, with `regions`")],
    device: str,
    members: Files,
    control: Annotated[
        list[Path] | None, typer.Option(help="weights of a network that was trained on permuted targets")
    ] = None,
) -> None:
    """Write regions.tsv and regions.json into FOLDER: what hiding each region of an atlas changes in held-out scans, for the mean
    of those MEMBERS (weights, each next to its run.json) that learned something, beside networks with random weights."""
    from neurocohort.dataset.leakage import check_no_leakage
    from neurocohort.device import choose_device
    from neurocohort.evaluation.intervals import Bootstrap
    from neurocohort.evaluation.regions import importance
    from neurocohort.files import read_table, write_json, write_table
    from neurocohort.settings.evaluation import Evaluation
    from neurocohort.settings.saliency import Regions, Saliency
    from neurocohort.study.hidden_regions import HidingTest, record_of, regions_to_hide

    wanted, resampling = Saliency.read(settings), Evaluation.read(intervals)
    options = wanted.regions or Regions()
    hidden, table = regions_to_hide(template, options), read_table(samples)
    check_no_leakage(table)
    test = HidingTest(table, results, hidden, options, wanted.seed, choose_device(device))
    networks = test.networks([one.parent for one in members], [one.parent for one in control or []])
    bootstrap = Bootstrap(resampling.resamples, resampling.seed)
    found = importance(networks, test.scans(), hidden.listed, task, bootstrap, options.min_voxels)
    write_table(folder / "regions.tsv", found.table)
    write_json(folder / "regions.json", record_of(test, networks, found))
