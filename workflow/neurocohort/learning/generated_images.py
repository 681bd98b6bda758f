"""Draw images from a trained generative model, and write them as a pack that a training can read."""

from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch

from neurocohort.dataset.folds import TRAIN, VALIDATION
from neurocohort.dataset.pack_index import index_table, row_sha256
from neurocohort.errors import InputError
from neurocohort.files import write_table, written_aside
from neurocohort.learning.data import LEVELS, PackedImages
from neurocohort.learning.generative_network import GenerativeNetwork, latent_shape, noise_schedule
from neurocohort.learning.model_files import Model
from neurocohort.learning.precision import set_up_torch
from neurocohort.learning.tasks import Generation
from neurocohort.progress import in_turn

PACK = "generated"
VALIDATION_FRACTION = 0.2  # of the images, on which the epoch of the network that learns from them is chosen
CONDITION_STREAM, NOISE_STREAM = 31, 32  # added to the seed
EXAMPLE_PLACES = (0.1, 0.3, 0.5, 0.7, 0.9)  # quantiles of the target
DARKEST_PERCENT = 1  # of the voxels inside the brain are darker than what a generated image has at least there


def drawn_samples(samples: pd.DataFrame, cohort: str, count: int, seed: int) -> pd.DataFrame:
    """Draw what ``count`` images are of: the target and the sex of a person of the training part each time.

    Pairs come from a random order of the training scans, so that they have the joint distribution of the training part; every
    scan is drawn equally often where ``count`` is a multiple of their number.

    Args:
        samples: The training samples of the experiment; only those of the part ``train`` are used.
        cohort: The name of the pack's cohort.
        count: Number of images.
        seed: Of the draw.

    Returns:
        The columns that a training needs. Four fifths are its training part, the others its validation part.
    """
    known = samples[samples["part"] == TRAIN].reset_index(drop=True)
    generator = np.random.default_rng((seed, CONDITION_STREAM))
    rounds = [generator.permutation(len(known)) for _ in range(-(-count // len(known)))]
    chosen = known.iloc[np.concatenate(rounds)[:count]].reset_index(drop=True)
    validation = max(1, round(VALIDATION_FRACTION * count))
    names = [f"generated-{number:05d}" for number in range(count)]
    return pd.DataFrame(
        {
            "scan_id": names,
            "participant_id": names,
            "cohort": cohort,
            "site": PACK,
            "part": np.where(np.arange(count) < count - validation, TRAIN, VALIDATION),
            "fold": pd.NA,
            "pack": PACK,
            "row": np.arange(count),
            "target": chosen["target"],
            "sex": chosen["sex"],
            "voxels_sha256": names,  # no scan has these voxels
        }
    )


def draw_images(
    model: Model, wanted: pd.DataFrame, shape: tuple[int, ...], darkest: np.ndarray, seed: int
) -> np.ndarray:
    """Draw an image for each row of ``wanted`` (target and sex), each with its own random numbers.

    Args:
        model: The trained generative model.
        wanted: Rows of `drawn_samples`.
        shape: Voxels of an image, (X, Y, Z).
        darkest: By channel, the level (`darkest_levels`) below which a voxel is outside and becomes 0.
        seed: Of the noise that the images are made from.

    Returns:
        (N, C, X, Y, Z) uint8, levels as in the packs.
    """
    from monai.inferers import DiffusionInferer  # MONAI is slow to import: only where it is used

    task, network = model.task, cast(GenerativeNetwork, model.network.eval())
    if not isinstance(task, Generation) or model.settings.generation is None:
        raise InputError(f"a model of the task {task.kind} draws no images")
    set_up_torch(model.settings.threads, model.device, "float32")
    schedule, steps = noise_schedule(), model.settings.generation.steps
    schedule.set_timesteps(steps, device=model.device)
    inferer, conditions = DiffusionInferer(schedule), task.conditions(wanted).to(model.device)
    mean, deviation = (
        np.array(values)[:, None, None, None] for values in (model.intensity.mean, model.intensity.deviation)
    )
    found = []
    for number in in_turn(len(wanted), "drawn"):
        own = int(np.random.SeedSequence((seed, number, NOISE_STREAM)).generate_state(1)[0])
        noise = torch.randn((1, *latent_shape(network, shape)), generator=torch.Generator().manual_seed(own))
        with torch.inference_mode():
            context = network.context(conditions[number : number + 1])
            latents = inferer.sample(
                noise.to(model.device), network.diffusion, schedule, conditioning=context, verbose=False
            )
            image = network.decoded(cast(torch.Tensor, latents))[0, :, : shape[0], : shape[1], : shape[2]]
        levels = np.clip(np.rint(image.float().cpu().numpy() * deviation + mean), 0, LEVELS - 1)
        levels[levels < darkest[:, None, None, None]] = 0
        found.append(levels.astype(np.uint8))
    return np.stack(found)


def darkest_levels(packed: PackedImages, samples: pd.DataFrame) -> np.ndarray:
    """By channel, half the level that the darkest 1 % of the voxels above 0 of the training scans don't reach.

    A generated image isn't exactly 0 outside of the head, and scans are: darker voxels than this are set to 0.
    """
    counts: np.ndarray | int = 0
    for scan in packed.each_image(samples[samples["part"] == TRAIN]):
        counts = counts + np.stack([np.bincount(channel.ravel(), minlength=LEVELS) for channel in scan])
    inside = np.atleast_2d(counts)[:, 1:].cumsum(axis=1)
    return np.array([1 + np.searchsorted(one, DARKEST_PERCENT / 100 * one[-1]) for one in inside]) / 2


def write_pack(folder: Path, images: np.ndarray, wanted: pd.DataFrame, modalities: list[str]) -> None:
    """Write the images (N, C, X, Y, Z) as a pack (`dataset.pack`) without label maps into ``folder``."""
    labels = np.zeros((len(images), *images.shape[2:]), dtype=np.uint8)
    for name, array in (("images", images), ("labels", labels)):
        with written_aside(folder / f"{name}.npy") as aside, open(aside, "wb") as stream:
            np.save(stream, array)
    rows = [
        (row, scan, 0, row_sha256(scan, images[row]), row_sha256(scan, labels[row]))
        for row, scan in enumerate(wanted["scan_id"])
    ]
    write_table(folder / "index.tsv", index_table(rows))
    write_table(folder / "channels.tsv", pd.DataFrame({"modality": modalities}))


def example_images(packed: PackedImages, drawn: pd.DataFrame) -> dict[str, np.ndarray]:
    """Generated images at five values of the target, from the lowest to the highest tenth, for the report.

    Returns:
        images: (n, X, Y, Z) uint8, the first channel; target: (n,) float64; sex: (n,) text.
    """
    values = drawn["target"].to_numpy(np.float64)
    nearest = [int(np.abs(values - np.quantile(values, place)).argmin()) for place in EXAMPLE_PLACES]
    chosen = drawn.iloc[list(dict.fromkeys(nearest))]
    return {
        "images": packed.stack_arrays(chosen)[:, 0],
        "target": chosen["target"].to_numpy(np.float64),
        "sex": chosen["sex"].fillna("").astype(str).to_numpy(str),
    }
