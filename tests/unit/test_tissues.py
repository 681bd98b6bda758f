"""Tissue volumes follow the scan, not the atlas that guides them."""

import numpy as np
import pytest
from neurocohort.imaging.tissues import segment_tissues, tissue_volumes_ml
from neurocohort.imaging.volume import Volume
from scipy import ndimage

INTENSITY = {0: 0.2, 1: 0.55, 2: 0.85}


def head(fluid_radius: float, seed: int = 0):
    """A ball of white matter in grey matter, with fluid inside, blurred to partial volumes, and noise."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 48)] * 3, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    labels = np.where(radius < fluid_radius, 0, np.where(radius < 0.7, 2, 1))
    shares = np.stack([ndimage.gaussian_filter((labels == k).astype(float), 1.0) for k in range(3)])
    image = sum(INTENSITY[k] * shares[k] for k in range(3))
    image += 0.04 * np.random.default_rng(seed).standard_normal(image.shape)
    return Volume(image.astype(np.float32), np.eye(4)), radius < 0.95, shares


@pytest.mark.parametrize("fluid_radius", [0.2, 0.3, 0.4])
def test_volumes_are_near_the_truth_although_the_atlas_is_another_head(fluid_radius):
    scan, mask, truth = head(fluid_radius)
    _, _, atlas = head(0.35, seed=1)
    priors = np.stack([ndimage.gaussian_filter(share, 3.0) for share in atlas])
    found = tissue_volumes_ml(segment_tissues(scan, mask, priors, seed=1), voxel_ml=0.001)
    expected = truth[:, mask].sum(axis=1) / 1000
    for name, value in zip(("csf", "gm", "wm"), expected, strict=True):
        assert found[name] == pytest.approx(value, abs=0.03 * mask.sum() / 1000), name
    assert found["brain"] == pytest.approx(mask.sum() / 1000, rel=1e-3)


def test_a_voxel_more_in_the_mask_moves_no_volume():
    scan, mask, truth = head(0.3)
    first = np.argwhere(mask)[0]
    box = tuple(slice(int(n), None) for n in np.argwhere(mask).min(axis=0))
    volumes = []
    for smaller in (False, True):
        ours, part = mask.copy(), box
        if smaller:  # without its first plane, on which the box begins
            ours[first[0]] = False
            part = slice(box[0].start + 1, None), *box[1:]
        corner = np.eye(4)
        corner[:3, 3] = [s.start for s in part]
        cut = Volume(scan.data[part], corner)
        shares = segment_tissues(cut, ours[part], truth[(slice(None), *part)].astype(np.float32), seed=1)
        volumes.append(tissue_volumes_ml(shares, voxel_ml=0.001))
    assert volumes[0]["wm"] == pytest.approx(volumes[1]["wm"], rel=1e-4)
