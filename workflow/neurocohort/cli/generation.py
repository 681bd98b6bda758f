"""The subcommands of generative models: images drawn from one, what they are worth, and scans that one changes."""

from pathlib import Path
from typing import Annotated, Any

import typer

from neurocohort.cli.app import command


@command
def generate(
    samples: Path,
    results: Path,
    model: Annotated[Path, typer.Option(help="the folder of the trained generative model")],
    folder: Annotated[Path, typer.Option(help="where the images are written, as a pack")],
    output: Annotated[Path, typer.Option(help="the table of the images, as samples of a training")],
    cohort: Annotated[str, typer.Option(help="the name of the pack's cohort, its folder under RESULTS")],
    device: str,
    seed: int,
) -> None:
    """Draw images from a generative model of the training scans among SAMPLES, of target values and sexes that occur there."""
    from neurocohort.dataset.leakage import check_not_held_out
    from neurocohort.device import choose_device
    from neurocohort.files import read_table, write_table
    from neurocohort.learning.data import open_packed, packed_folders
    from neurocohort.learning.generated_images import darkest_levels, draw_images, drawn_samples, write_pack
    from neurocohort.learning.model_files import read_model

    table, trained = read_table(samples), read_model(model, choose_device(device))
    check_not_held_out(table, 0)
    wanted = trained.settings.generation
    drawn = drawn_samples(table, cohort, (wanted.images if wanted else None) or len(table), seed)
    packed = open_packed(packed_folders(table, results), trained.settings.modalities)
    shape = next(iter(packed.images.values())).shape[2:]
    images = draw_images(trained, drawn, shape, darkest_levels(packed, table), seed)
    write_pack(folder, images, drawn, trained.settings.modalities)
    write_table(output, drawn)


@command
def generation(
    samples: Path,
    results: Path,
    folder: Annotated[Path, typer.Option(help="the folder of the experiment, with its subfolder `generation`")],
    reference: Annotated[Path, typer.Option(help="the folder of the same network that learned from scans")],
    study: str,
    settings: Annotated[str, typer.Option(help="the experiment with `generation` as JSON")],
    intervals: Annotated[str, typer.Option(help="the keys `evaluation` of the configuration as JSON")],
    device: str,
) -> None:
    """Compare generated images with scans: as what a network learns from, as possible copies, and as a distribution. Writes
    generation.tsv into FOLDER, and images at several values of the target into its subfolder."""
    import json

    import numpy as np

    from neurocohort.dataset.folds import HELD_OUT, TRAIN
    from neurocohort.dataset.leakage import check_no_leakage
    from neurocohort.device import choose_device
    from neurocohort.errors import InputError
    from neurocohort.evaluation.generation import Images, block_means, generation_table
    from neurocohort.evaluation.intervals import Bootstrap
    from neurocohort.evaluation.record import FOLDER, evaluation_of, record_evaluation
    from neurocohort.files import read_table, write_table, written_aside
    from neurocohort.learning.data import open_packed, packed_folders
    from neurocohort.learning.generated_images import example_images
    from neurocohort.learning.inference import predict
    from neurocohort.learning.model_files import read_model
    from neurocohort.settings.evaluation import Evaluation

    own = folder / "generation"
    table, drawn, wanted = read_table(samples), read_table(own / "samples.tsv"), Evaluation.read(intervals)
    check_no_leakage(table)
    held_out = table[table["part"] == HELD_OUT].reset_index(drop=True)
    if held_out.empty:
        raise InputError(
            "there is no held-out scan to compare generated images with: see flow.tsv, or leave out `generation`."
        )
    parts = {"generated": drawn, "training": table[table["part"] == TRAIN], "held_out": held_out}
    models = [read_model(one, choose_device(device)) for one in (own / "learner", reference)]
    evaluation = evaluation_of(results, study, folder.name, json.loads(settings), ["generation/learner"])
    record_evaluation(results.parent / FOLDER, evaluation, held_out)
    arrays, images = {}, {}
    for name, rows in parts.items():
        packed = open_packed(packed_folders(rows, results), models[0].settings.modalities)
        arrays[name] = packed
        people = (rows["cohort"].astype(str) + "/" + rows["participant_id"].astype(str)).to_numpy()
        means = [block_means(scan[None])[0] for scan in packed.each_image(rows)]
        images[name] = Images(np.stack(means), people)
    predicted = [held_out.assign(prediction=predict(model, held_out, arrays["held_out"])) for model in models]
    bootstrap = Bootstrap(wanted.resamples, wanted.seed)
    write_table(
        folder / "generation.tsv", generation_table((predicted[0], predicted[1]), **images, bootstrap=bootstrap)
    )
    with written_aside(own / "examples.npz") as aside, open(aside, "wb") as stream:
        shown: dict[str, Any] = example_images(arrays["generated"], drawn)
        np.savez_compressed(stream, **shown)


@command
def counterfactual(
    samples: Path,
    results: Path,
    folder: Annotated[Path, typer.Option(help="the folder of the experiment")],
    model: Annotated[Path, typer.Option(help="the folder of the trained generative model")],
    reference: Annotated[Path, typer.Option(help="the folder of the network that learned from scans")],
    settings: Annotated[str, typer.Option(help="the keys `counterfactual` of the experiment's `generation` as JSON")],
    intervals: Annotated[str, typer.Option(help="the keys `evaluation` of the configuration as JSON")],
    device: str,
    seed: int,
) -> None:
    """Change held-out scans with a generative model for another value of the target, and measure what changes. Writes
    counterfactual.tsv into FOLDER, and images for the report into its subfolder `generation`."""
    import numpy as np

    from neurocohort.dataset.leakage import check_no_leakage
    from neurocohort.device import choose_device
    from neurocohort.evaluation.counterfactual import counterfactual_table
    from neurocohort.evaluation.intervals import Bootstrap
    from neurocohort.files import read_table, write_table, written_aside
    from neurocohort.learning.data import open_packed, packed_folders
    from neurocohort.learning.model_files import read_model
    from neurocohort.settings.evaluation import Evaluation
    from neurocohort.settings.generation import Counterfactual
    from neurocohort.study.counterfactual import CounterfactualTest

    table, resampling = read_table(samples), Evaluation.read(intervals)
    check_no_leakage(table)
    generator, network = (read_model(one, choose_device(device)) for one in (model, reference))
    packed = open_packed(packed_folders(table, results), network.settings.modalities)
    found = CounterfactualTest(table, packed, generator, network, Counterfactual.read(settings), seed).run()
    bootstrap = Bootstrap(resampling.resamples, resampling.seed)
    write_table(folder / "counterfactual.tsv", counterfactual_table(found.pairs, found.scans, found.asked, bootstrap))
    with written_aside(folder / "generation" / "counterfactual.npz") as aside, open(aside, "wb") as stream:
        np.savez_compressed(stream, **found.examples)
