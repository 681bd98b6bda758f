"""The subcommand that tests a translation: predicted images of everybody who is tested, their baselines and metrics."""

from pathlib import Path
from typing import Annotated

import typer

from neurocohort.cli.app import Files, command


@command
def translate(
    samples: Path,
    results: Path,
    folder: Path,
    study: str,
    intervals: Annotated[str, typer.Option(help="the keys `evaluation` of the configuration as JSON")],
    settings: Annotated[str, typer.Option(help="the experiment as JSON")],
    device: str,
    members: Files,
) -> None:
    """Predict the images of the held-out and external scans by the mean of the MEMBERS (weights, each next to its run.json) into
    FOLDER, and compare them and their baselines with the true ones. The baselines are fitted on the development part."""
    import json

    import pandas as pd

    from neurocohort.dataset.folds import FOLDED_PARTS
    from neurocohort.dataset.leakage import check_no_leakage
    from neurocohort.device import choose_device
    from neurocohort.errors import InputError
    from neurocohort.evaluation.intervals import Bootstrap
    from neurocohort.evaluation.record import FOLDER, evaluation_of, record_evaluation
    from neurocohort.evaluation.translation import translation_table
    from neurocohort.evaluation.translation_baselines import fit_baselines
    from neurocohort.files import read_table, write_table
    from neurocohort.learning.data import open_packed, packed_folders
    from neurocohort.learning.inference import tested_samples
    from neurocohort.learning.model_files import read_model
    from neurocohort.learning.network_table import network_table, read_runs, used_members
    from neurocohort.learning.translated_files import write_slices
    from neurocohort.settings.evaluation import Evaluation
    from neurocohort.study.translated_scans import compare_scans

    wanted, every, experiment = Evaluation.read(intervals), read_table(samples), json.loads(settings)
    check_no_leakage(every)
    runs = read_runs(member.parent for member in members)
    used = used_members(runs)
    places = {member.parent.name: member.parent for member in members}
    models = [read_model(places[name], choose_device(device)) for name in used]
    packed = open_packed(packed_folders(every, results), models[0].settings.read_channels)
    development = every[every["part"].isin(FOLDED_PARTS)]
    baselines = fit_baselines(lambda: packed.each_image(development), wanted.seed)
    tested = tested_samples(every)
    if tested.empty:
        raise InputError(
            "there is no held-out or external scan to test the translation on: see the experiment's flow.tsv."
        )
    record_evaluation(results.parent / FOLDER, evaluation_of(results, study, folder.name, experiment, used), tested)
    compared = compare_scans(models, baselines, tested, packed, results, folder / "translated")
    scores = pd.DataFrame(compared.scores)
    write_table(folder / "networks.tsv", network_table(runs))
    write_table(folder / "scores.tsv", scores)
    write_table(folder / "translation.tsv", translation_table(scores, Bootstrap(wanted.resamples, wanted.seed)))
    write_slices(folder / "examples.npz", compared.slices, compared.names)
