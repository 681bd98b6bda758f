"""Held-out scans with a changed target, by an experiment's generative model and by random ones, and what its network predicts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neurocohort.dataset.folds import HELD_OUT, TRAIN, VALIDATION
from neurocohort.evaluation.counterfactual import Asked, Pairs, Reconstructed, identified
from neurocohort.evaluation.generation import Images, block_means
from neurocohort.learning.counterfactual_images import changed_images, random_diffusion, scans_to_change
from neurocohort.learning.data import PackedImages
from neurocohort.learning.generated_images import darkest_levels
from neurocohort.learning.inference import predict_values
from neurocohort.learning.model_files import Model
from neurocohort.learning.regions import mean_image, random_network
from neurocohort.progress import in_turn
from neurocohort.settings.generation import Counterfactual

DIRECTIONS = (-1, 1)
MOST_SHOWN = 3


@dataclass(frozen=True)
class Directions:
    """The pairs of a scan and a direction that end inside the range of the training targets.

    Attributes:
        scan: The number of each pair's scan, (pairs,).
        asked: The change of the target, (pairs,).
        about: The change in one direction, and how many directions are left out.
    """

    scan: np.ndarray
    asked: np.ndarray
    about: Asked


def directions(scans: pd.DataFrame, training: np.ndarray, change: float | None) -> Directions:
    """Both directions of each scan, without those that end outside the range of the ``training`` targets.

    Without ``change`` it is one standard deviation of them.
    """
    own, size = scans["target"].to_numpy(dtype=float), change or float(np.std(training))
    number, asked = np.repeat(np.arange(len(own)), len(DIRECTIONS)), np.tile(DIRECTIONS, len(own)) * size
    wanted = own[number] + asked
    inside = (wanted >= training.min()) & (wanted <= training.max())
    return Directions(number[inside], asked[inside], Asked(size, int((~inside).sum())))


@dataclass(frozen=True)
class ScansToChange:
    """Scans and how they are changed.

    Attributes:
        table: Their rows of samples.tsv.
        images: (scans, C, X, Y, Z) uint8.
        directions: Their directions.
        strength: How far into the noise.
        darkest: By channel, the level below which a voxel becomes 0.
    """

    table: pd.DataFrame
    images: np.ndarray
    directions: Directions
    strength: float
    darkest: np.ndarray

    @property
    def people(self) -> np.ndarray:
        """The person of each scan."""
        return _people(self.table)

    def changed_by(self, generator: Model) -> "Changed":
        """The scans through a generative model, with their own target and with the changed ones."""
        asked, found = self.directions, []
        for number in in_turn(len(self.table), "changed"):
            row = self.table.iloc[number]
            own = float(row["target"])
            targets = [own, *(own + asked.asked[asked.scan == number])]
            found.append(changed_images(generator, self.images[number], row, targets, self.strength, self.darkest))
        return Changed(self, np.stack([one[0] for one in found]), np.concatenate([one[1:] for one in found]))


@dataclass(frozen=True)
class Changed:
    """The images of one generative model.

    Attributes:
        scans: What they were made of.
        reconstructions: The images with the own target, (scans, C, X, Y, Z) float32.
        images: Those with a changed target, (pairs, C, X, Y, Z) float32.
    """

    scans: ScansToChange
    reconstructions: np.ndarray
    images: np.ndarray

    @property
    def differences(self) -> np.ndarray:
        """Each image minus its reconstruction, (pairs, C, X, Y, Z)."""
        return self.images - self.reconstructions[self.scans.directions.scan]

    @property
    def voxels(self) -> np.ndarray:
        """Mean absolute change of a voxel inside the brain, (pairs,)."""
        return _inside(self.differences, self.scans.images[self.scans.directions.scan])

    def predicted(self, network: Model) -> np.ndarray:
        """The change of a network's prediction, (pairs,)."""
        own = predict_values(network, self.reconstructions)
        return predict_values(network, self.images) - own[self.scans.directions.scan]


@dataclass(frozen=True)
class Found:
    """What was measured, and the images for the report (`_examples`)."""

    pairs: Pairs
    scans: Reconstructed
    asked: Asked
    examples: dict[str, Any]


@dataclass(frozen=True)
class CounterfactualTest:
    """A test of held-out scans with a changed target.

    Attributes:
        samples: All rows of samples.tsv.
        packed: Their volumes.
        generator: The generative model.
        network: The experiment's network that learned from scans.
        options: How the scans are changed.
        seed: Of the choice of scans, and of the first random weights.
    """

    samples: pd.DataFrame
    packed: PackedImages
    generator: Model
    network: Model
    options: Counterfactual
    seed: int

    def run(self) -> Found:
        """Change the scans with the generative model and with random ones, and measure the images and predictions."""
        scans = self._scans()
        own, seeds = scans.changed_by(self.generator), range(self.seed, self.seed + self.options.random_networks)
        random = [self._random(scans, seed) for seed in seeds]
        people, known = scans.people[scans.directions.scan], self._known()
        pairs = Pairs(
            people=people,
            asked=scans.directions.asked,
            predicted=own.predicted(self.network),
            of_random_networks=np.stack([own.predicted(random_network(self.network, seed)) for seed in seeds]),
            of_random_models=np.stack([predicted for predicted, _ in random]),
            voxels=own.voxels,
            random_voxels=np.stack([voxels for _, voxels in random]),
            identified=identified(Images(block_means(own.images), people), known),
        )
        return Found(pairs, self._reconstructed(own, known), scans.directions.about, _examples(own))

    def _scans(self) -> ScansToChange:
        table = scans_to_change(self.samples, self.options.scans, self.seed)
        training = self.samples.loc[self.samples["part"] == TRAIN, "target"].to_numpy(dtype=float)
        asked, darkest = directions(table, training, self.options.change), darkest_levels(self.packed, self.samples)
        return ScansToChange(table, self.packed.stack_arrays(table), asked, self.options.strength, darkest)

    def _random(self, scans: ScansToChange, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Of random diffusion weights: the change of the network's prediction, and of the voxels."""
        found = scans.changed_by(random_diffusion(self.generator, seed))
        return found.predicted(self.network), found.voxels

    def _known(self) -> Images:
        """All scans that an image could be of: held-out, training and validation scans."""
        rows = self.samples[self.samples["part"].isin((HELD_OUT, TRAIN, VALIDATION))]
        means = [block_means(one[None])[0] for one in self.packed.each_image(rows)]
        return Images(np.stack(means), _people(rows))

    def _reconstructed(self, own: Changed, known: Images) -> Reconstructed:
        scans, mean = own.scans, mean_image(self.network, self.samples, self.packed, self.seed)
        plain, back = (predict_values(self.network, images) for images in (scans.images, own.reconstructions))
        return Reconstructed(
            people=scans.people,
            error=_inside(own.reconstructions - scans.images, scans.images),
            error_of_mean=_inside(mean[None] - scans.images, scans.images),
            shift=np.abs(back - plain),
            identified=identified(Images(block_means(own.reconstructions), scans.people), known),
        )


def _inside(difference: np.ndarray, originals: np.ndarray) -> np.ndarray:
    """The mean absolute ``difference`` (N, C, X, Y, Z) over the voxels above 0 of each original, (N,)."""
    inside, each = originals > 0, tuple(range(1, originals.ndim))
    return (np.abs(difference) * inside).sum(axis=each, dtype=np.float64) / np.maximum(inside.sum(axis=each), 1)


def _people(rows: pd.DataFrame) -> np.ndarray:
    return (rows["cohort"].astype(str) + "/" + rows["participant_id"].astype(str)).to_numpy()


def _examples(own: Changed) -> dict[str, Any]:
    """Images of the first channel for the report: scans with both directions, from the lowest to the highest target.

    Returns:
        images: (n, 4, X, Y, Z) uint8: original, reconstruction, lower and higher target; n can be 0. target: (n,) float64.
        change: The asked change. differences: (2, X, Y, Z) float32, the mean over all scans of the image with a lower target
        minus its reconstruction, and of that with a higher one; 0 where there is none.
    """
    scans, asked = own.scans, own.scans.directions
    target, shape = scans.table["target"].to_numpy(dtype=float), scans.images.shape[2:]
    both = np.flatnonzero(np.bincount(asked.scan, minlength=len(target)) == len(DIRECTIONS))
    ordered = both[np.argsort(target[both], kind="stable")]
    places = np.linspace(0, len(ordered) - 1, min(MOST_SHOWN, len(ordered))).round().astype(int)
    images = np.zeros((len(places), 4, *shape), dtype=np.uint8)
    for place, number in enumerate(ordered[places]):
        changed = own.images[asked.scan == number]
        shown = np.stack([scans.images[number], own.reconstructions[number], *changed])[:, 0]
        images[place] = np.rint(shown)
    differences = np.zeros((len(DIRECTIONS), *shape), dtype=np.float32)
    for place, sign in enumerate(DIRECTIONS):
        if (pairs := np.sign(asked.asked) == sign).any():
            differences[place] = own.differences[pairs, 0].mean(axis=0)
    change = np.float64(asked.about.change)
    return {"images": images, "target": target[ordered[places]], "change": change, "differences": differences}
