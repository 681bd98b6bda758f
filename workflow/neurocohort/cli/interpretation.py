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
    from dataclasses import asdict

    from neurocohort.dataset.leakage import check_no_leakage
    from neurocohort.device import choose_device
    from neurocohort.errors import InputError
    from neurocohort.evaluation.intervals import Bootstrap
    from neurocohort.evaluation.regions import Hidden, Networks, Region, importance
    from neurocohort.files import read_table, write_json, write_table
    from neurocohort.imaging.atlas import read_atlas, template_blocks
    from neurocohort.imaging.template import read_brain_template
    from neurocohort.learning.data import open_packed, packed_folders
    from neurocohort.learning.model_files import read_model
    from neurocohort.learning.network_table import read_runs, used_members
    from neurocohort.learning.regions import (
        answers,
        answers_of_members,
        hidden_regions,
        mean_image,
        random_network,
        scans_to_test,
    )
    from neurocohort.settings.evaluation import Evaluation
    from neurocohort.settings.saliency import Regions, Saliency

    wanted, resampling, chosen = Saliency.read(settings), Evaluation.read(intervals), choose_device(device)
    options = wanted.regions or Regions()
    space = read_brain_template(template)
    atlas = read_atlas(Path(options.atlas), space) if options.atlas else template_blocks(space)
    voxel_ml = space.brain.voxel_ml
    counted = {number: int((atlas.labels == number).sum()) for number in atlas.names}
    listed = [
        Region(
            number, name, counted[number], round(counted[number] * voxel_ml, 3), counted[number] >= options.min_voxels
        )
        for number, name in atlas.names.items()
    ]
    evaluated = [one.number for one in listed if one.evaluated]
    if not evaluated:
        raise InputError(
            f"no region of {atlas.name} has {options.min_voxels} voxels on the study's grid; set a smaller "
            "`saliency.regions.min_voxels`, or a finer grid by `preprocessing.spacing_mm`."
        )
    hidden = hidden_regions(atlas.labels, evaluated, float(space.brain.spacing_mm[0]))

    every = read_table(samples)
    check_no_leakage(every)
    scans = scans_to_test(every, options.scans, wanted.seed)
    own = {member.parent.name: member.parent for member in members}
    used = used_members(read_runs(own.values()))
    first = read_model(own[used[0]], chosen)
    packed = open_packed(packed_folders(every, results), first.settings.modalities)
    about = (scans, every, packed, hidden, wanted.seed)
    trained = answers_of_members(((name, read_model(own[name], chosen)) for name in used), *about)
    controls: dict[str, list[Path]] = {}
    for path in control or []:
        controls.setdefault(path.parent.parent.name, []).append(path.parent)
    shuffled = {
        f"{name}/{one}": folders[0].parent / one
        for name, folders in controls.items()
        for one in used_members(read_runs(folders))
    }
    permuted = answers_of_members(((name, read_model(place, chosen)) for name, place in shuffled.items()), *about)
    fill = mean_image(first, every, packed, wanted.seed)
    random = {}
    for seed in range(wanted.seed, wanted.seed + options.random_networks):
        name = f"random weights, seed {seed}"
        random[name] = answers(random_network(first, seed), scans, packed, fill, hidden, name)
    networks = Networks(*({name: Hidden(*one) for name, one in found.items()} for found in (trained, random, permuted)))
    bootstrap = Bootstrap(resampling.resamples, resampling.seed)
    found = importance(networks, scans, listed, task, bootstrap, options.min_voxels)
    write_table(folder / "regions.tsv", found.table)
    write_json(
        folder / "regions.json",
        {
            "atlas": atlas.name,
            "scans": len(scans),
            "participants": int(scans["participant_id"].nunique()),
            "regions": len(evaluated),
            "not_evaluated": len(listed) - len(evaluated),
            "members": list(trained),
            "random_networks": options.random_networks,
            "permuted_networks": len(permuted),
            "seed": wanted.seed,
            "agreement": asdict(found.members),
            "random_agreement": asdict(found.random),
        },
    )
