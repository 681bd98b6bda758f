"""The subcommands that explain trained models and write their bundles."""

from pathlib import Path
from typing import Annotated

import typer

from neurocohort.cli.app import Files, command


@command
def saliency(
    samples: Path,
    results: Path,
    template: Path,
    folder: Path,
    settings: Annotated[str, typer.Option(help="the keys `saliency` of the configuration as JSON")],
    device: str,
    members: Files,
) -> None:
    """Write the saliency map of the first of the MEMBERS (model.safetensors files) that learned something, averaged over held-out
    scans, and that of random weights, into FOLDER, which is in the folder of the experiment."""
    import numpy as np

    from neurocohort.dataset.folds import with_test_fold
    from neurocohort.dataset.leakage import check_no_leakage
    from neurocohort.device import choose_device
    from neurocohort.files import read_table, write_json, written_aside
    from neurocohort.imaging.template import Template, grid_of_study, read_template
    from neurocohort.learning.data import open_packed, packed_folders
    from neurocohort.learning.model_files import read_model
    from neurocohort.learning.network_table import first_used
    from neurocohort.learning.saliency import BLOCK_MM, HELD_OUT, OCCLUSION, chosen_scans, method_for, saliency_maps
    from neurocohort.settings.saliency import Saliency

    wanted = Saliency.read(settings)
    chosen = choose_device(device)
    model = first_used(member.parent for member in members)
    trained = read_model(model, chosen)
    table = read_table(samples)
    check_no_leakage(table)
    rows = chosen_scans(with_test_fold(table, trained.settings.test_fold), wanted.scans, wanted.seed)
    packed = open_packed(packed_folders(rows, results), trained.settings.modalities)
    space = read_template(template)
    grid = grid_of_study(space)
    mask = space.mask if isinstance(space, Template) else np.ones(grid.shape, dtype=bool)
    spacing_mm = float(grid.affine[0, 0])
    method = method_for(wanted.method, trained.settings.network)
    maps, correlation = saliency_maps(trained, rows, packed, mask, spacing_mm, method=method, seed=wanted.seed)
    with written_aside(folder / "saliency.npz") as aside, open(aside, "wb") as stream:
        arrays = maps | {"mask": mask.astype(np.uint8), "affine": grid.affine}
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # numpy's stub has another keyword besides arrays
    write_json(
        folder / "saliency.json",
        {
            "method": method,
            "scans": len(rows),
            "part": HELD_OUT,
            "seed": wanted.seed,
            "correlation": correlation,
            "experiment": folder.parent.name,
            "member": model.name,
            "block_mm": BLOCK_MM if method == OCCLUSION else None,
        },
    )


@command
def bundle(
    experiment: str,
    metrics: Path,
    samples: Path,
    predictions: Path,
    by_member: Path,
    results: Path,
    template: Path,
    folder: Path,
    configuration: Annotated[str, typer.Option(help="the study's configuration as JSON")],
    members: Files,
    registration_network: Path | None = None,
) -> None:
    """Write the MONAI bundle of an experiment into FOLDER from the weights of those of its MEMBERS (model.safetensors files) that
    its predictions are averaged over. For raw scans it also has the TEMPLATE, the REGISTRATION_NETWORK if the study has one, and
    summary statistics of the training cohorts' quality tables (in RESULTS) and of the networks' features."""
    import json

    from neurocohort.export.bundle import Outcome, write_bundle
    from neurocohort.export.raw_scans import read_parts
    from neurocohort.files import folder_written_aside, read_table
    from neurocohort.learning.network_table import network_table, read_runs, used_members
    from neurocohort.report.networks import Networks

    every = {member.parent.name: member.parent for member in members}
    runs = read_runs(every.values())
    folders = {name: every[name] for name in used_members(runs)}
    networks = Networks(network_table(runs))
    evaluated, taken = read_table(metrics), read_table(samples)
    study = json.loads(configuration)
    raw_scans = read_parts(template, results, study["experiments"][experiment], folders, registration_network)
    outcome = Outcome(networks, read_table(predictions), read_table(by_member), raw_scans)
    with folder_written_aside(folder) as aside:
        write_bundle(aside, experiment, folders, evaluated, taken, study, outcome)
