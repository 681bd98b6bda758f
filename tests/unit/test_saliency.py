"""Saliency maps: they peak where a network looks, and with random weights they don't."""

import numpy as np
import pandas as pd
import pytest
import torch
from neurocohort.errors import InputError
from neurocohort.learning import saliency
from neurocohort.learning.data import Intensity, PackedImages
from neurocohort.learning.model_files import Model
from neurocohort.learning.saliency import chosen_scans, saliency_maps
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks import Classification, Regression
from torch import nn

CPU = torch.device("cpu")
SHAPE, SPACING_MM = (24, 20, 24), 7.5  # so that a block is four voxels
CORNER = (slice(16, 20), slice(8, 12), slice(4, 8))  # where the toy network looks: one block
INTENSITY = Intensity([120.0], [60.0])
VALUE = Regression(False, 20.0, 90.0, 55.0, 20.0)


class Looking(nn.Module):
    """Its answers depend on the mean of one region alone, the larger the brighter; the second answer is its opposite."""

    def __init__(self, outputs: int = 1):
        super().__init__()
        self.layer = nn.Conv3d(1, 1, 1)
        nn.init.ones_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        self.outputs = outputs

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        region = self.layer(images)[:, 0, *CORNER].mean(dim=(1, 2, 3))
        return torch.stack([region, -region, torch.zeros_like(region)][: self.outputs], dim=1)


class Spotlight(nn.Module):
    """A feature map that is dark outside one region."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        lit = torch.zeros(SHAPE)
        lit[CORNER] = 1
        return torch.relu(images) * self.gain * lit


@pytest.fixture
def brain() -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2:22, 2:18, 2:22] = True
    return mask


@pytest.fixture
def packed(brain) -> PackedImages:
    images = np.random.default_rng(0).integers(150, 250, (6, 1, *SHAPE)).astype(np.uint8) * brain
    return PackedImages({("toy", "held-out"): images}, {}, {("toy", "held-out"): [0]})


def scans(count: int = 6, part: str = "held-out") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "scan_id": [f"s{i}" for i in range(count)],
            "cohort": "toy",
            "pack": "held-out",
            "row": range(count),
            "part": part,
        }
    )


def maps_of(network, task, packed, brain, method="occlusion", count=6, seed=1):
    settings = TrainingSettings(task=task.kind, network="sfcn", channels=[4, 6, 6], classes=getattr(task, "classes", 2))
    model = Model(network, task, settings, INTENSITY, CPU)
    return saliency_maps(model, scans(count), packed, brain, SPACING_MM, method=method, seed=seed)


def peak(map_: np.ndarray) -> tuple[int, ...]:
    return tuple(map(int, np.unravel_index(map_.argmax(), map_.shape)))


def inside(place: tuple[int, ...]) -> bool:
    return all(side.start <= index < side.stop for index, side in zip(place, CORNER, strict=True))


@pytest.mark.parametrize("count", [1, 2, 6])
@pytest.mark.parametrize(
    "task", [VALUE, Classification(), Classification(3, class_weights=(1.0, 1.0, 1.0))], ids=["value", "two", "three"]
)
def test_occlusion_peaks_where_the_network_looks_and_random_weights_do_not(packed, brain, task, count):
    found, correlation = maps_of(Looking(task.outputs), task, packed, brain, count=count)
    assert inside(peak(found["network"])) and found["network"].max() == 1
    far = np.ones(SHAPE, dtype=bool)
    far[12:24, 4:16, 0:12] = False  # more than a block away: interpolation ends there
    assert not found["network"][far].any()
    assert not inside(peak(found["random"])) and found["random"][far].any()
    assert abs(correlation) < 0.7


def test_grad_cam_peaks_where_the_network_looks(packed, brain):
    network = nn.Sequential(Spotlight(), nn.Flatten(), nn.Linear(int(np.prod(SHAPE)), 1))
    nn.init.ones_(network[2].weight)
    found, _ = maps_of(network, VALUE, packed, brain, method="grad_cam")
    assert inside(peak(found["network"]))
    assert not inside(peak(found["random"]))


def test_maps_are_scaled_and_empty_outside_the_brain(packed, brain):
    found, correlation = maps_of(Looking(), VALUE, packed, brain)
    for name, map_ in found.items():
        assert map_.shape == SHAPE and map_.dtype == np.float32, name
        assert map_.min() == 0 and map_.max() <= 1 and not map_[~brain].any(), name
    expected = np.mean([packed.image(("toy", "held-out"), row)[0] for row in range(6)], axis=0) / 255
    np.testing.assert_allclose(found["mean_image"], expected, atol=1e-6)
    assert -1 <= correlation <= 1


def test_maps_follow_from_the_seed(packed, brain):
    first, again, other = (maps_of(Looking(), VALUE, packed, brain, seed=seed)[0]["random"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_network_that_looks_nowhere_has_an_empty_map_and_no_correlation(packed, brain):
    blind = Looking()
    nn.init.zeros_(blind.layer.weight)
    found, correlation = maps_of(blind, VALUE, packed, brain)
    assert not found["network"].any() and correlation is None


def test_every_block_with_brain_is_hidden_in_the_same_number_of_scans(packed, brain, monkeypatch):
    hidden = np.zeros(SHAPE, dtype=int)

    class Counting(Looking):
        def forward(self, images):
            if len(images) > 1 or (images[0] == 0).any():
                nonlocal hidden
                hidden = hidden + (images[:, 0] == 0).sum(dim=0).numpy()
            return super().forward(images)

    maps_of(Counting(), VALUE, packed, brain)
    assert set(np.unique(hidden[brain])) <= {0, saliency.HIDDEN_IN}
    assert (hidden[4:20, 4:16, 4:20] == saliency.HIDDEN_IN).all() and not hidden[~brain].any()


def test_scans_are_drawn_from_the_held_out_part_by_seed():
    table = pd.concat([scans(30), scans(5, "train"), scans(5, "external")], ignore_index=True)
    drawn = chosen_scans(table, 20, 1)
    assert len(drawn) == 20 and set(drawn["part"]) == {"held-out"} and drawn["row"].is_monotonic_increasing
    assert drawn.equals(chosen_scans(table, 20, 1)) and not drawn.equals(chosen_scans(table, 20, 2))
    assert len(chosen_scans(table, 100, 1)) == 30
    with pytest.raises(InputError, match="no held-out scan"):
        chosen_scans(scans(3, "train"), 20, 1)
