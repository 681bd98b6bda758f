"""What networks predict for held-out scans in which regions are hidden: those of an experiment, and random ones."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from neurocohort.errors import InputError
from neurocohort.evaluation.regions import Hidden, Importance, Networks, Region
from neurocohort.imaging.atlas import Atlas, read_atlas, template_blocks
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
from neurocohort.settings.saliency import Regions


@dataclass(frozen=True)
class RegionsToHide:
    """The regions of an atlas on the study's grid.

    Attributes:
        atlas: The atlas.
        listed: All of its regions.
        spacing_mm: Of the grid.
    """

    atlas: Atlas
    listed: list[Region]
    spacing_mm: float

    @property
    def evaluated(self) -> list[int]:
        """The numbers of those with enough voxels."""
        return [one.number for one in self.listed if one.evaluated]


def regions_to_hide(template: Path, options: Regions) -> RegionsToHide:
    """Read the atlas of ``options``, or make the blocks of the ``template``.

    Raises InputError where no region has enough voxels.
    """
    space = read_brain_template(template)
    atlas = read_atlas(Path(options.atlas), space) if options.atlas else template_blocks(space)
    listed = []
    for number, name in atlas.names.items():
        voxels = int((atlas.labels == number).sum())
        volume_ml = round(voxels * space.brain.voxel_ml, 3)
        listed.append(Region(number, name, voxels, volume_ml, voxels >= options.min_voxels))
    found = RegionsToHide(atlas, listed, float(space.brain.spacing_mm[0]))
    if not found.evaluated:
        raise InputError(
            f"no region of {atlas.name} has {options.min_voxels} voxels on the study's grid; set a smaller "
            "`saliency.regions.min_voxels`, or a finer grid by `preprocessing.spacing_mm`."
        )
    return found


@dataclass(frozen=True)
class HidingTest:
    """Held-out scans in which regions are hidden.

    Args:
        samples: All rows of samples.tsv.
        results: The folder of the study's results.
        regions: The regions.
        options: How many scans and random networks.
        seed: Of the choice of scans, and of the first random network.
        device: Where the networks run.
    """

    samples: pd.DataFrame
    results: Path
    regions: RegionsToHide
    options: Regions
    seed: int
    device: torch.device

    def scans(self) -> pd.DataFrame:
        """The scans in which regions are hidden."""
        return scans_to_test(self.samples, self.options.scans, self.seed)

    def networks(self, members: Sequence[Path], controls: Sequence[Path]) -> Networks:
        """What the used networks predict, and as many random ones as asked for.

        Args:
            members: Folders of the experiment's networks.
            controls: Folders of networks that were trained on permuted targets.
        """
        own = {one.name: one for one in members}
        used = {name: own[name] for name in used_members(read_runs(members))}
        first = read_model(next(iter(used.values())), self.device)
        packed = open_packed(packed_folders(self.samples, self.results), first.settings.modalities)
        hidden = hidden_regions(self.regions.atlas.labels, self.regions.evaluated, self.regions.spacing_mm)
        about = (self.scans(), self.samples, packed, hidden, self.seed)

        def trained(folders: dict[str, Path]) -> dict[str, Hidden]:
            models = ((name, read_model(folder, self.device)) for name, folder in folders.items())
            return {name: Hidden(*one) for name, one in answers_of_members(models, *about).items()}

        fill, random = mean_image(first, self.samples, packed, self.seed), {}
        for seed in range(self.seed, self.seed + self.options.random_networks):
            name = f"random weights, seed {seed}"
            random[name] = Hidden(*answers(random_network(first, seed), about[0], packed, fill, hidden, name))
        return Networks(trained(used), random, trained(_used_controls(controls)))


def record_of(test: HidingTest, networks: Networks, found: Importance) -> dict[str, Any]:
    """The content of regions.json."""
    scans, evaluated = test.scans(), len(test.regions.evaluated)
    return {
        "atlas": test.regions.atlas.name,
        "scans": len(scans),
        "participants": int(scans["participant_id"].nunique()),
        "regions": evaluated,
        "not_evaluated": len(test.regions.listed) - evaluated,
        "members": list(networks.trained),
        "random_networks": len(networks.random),
        "permuted_networks": len(networks.permuted),
        "seed": test.seed,
        "agreement": asdict(found.members),
        "random_agreement": asdict(found.random),
    }


def _used_controls(folders: Sequence[Path]) -> dict[str, Path]:
    """Those of each control that are averaged, by control and name."""
    controls: dict[str, list[Path]] = {}
    for folder in folders:
        controls.setdefault(folder.parent.name, []).append(folder)
    return {
        f"{name}/{one}": own[0].parent / one for name, own in controls.items() for one in used_members(read_runs(own))
    }
