"""Surfaces and volumes against MONAI, distance maps and closed forms."""

import numpy as np
import pytest
from evaluation_samples import NO_BASELINE, QUICK, volumes
from neurocohort.evaluation.details import details
from neurocohort.evaluation.evaluate import evaluate
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.segmentation_details import surface_values
from neurocohort.imaging.tissues import TISSUES
from scipy import ndimage


def ball(radius_mm: float, spacing: tuple, centre_mm: tuple = (0, 0, 0), shape: tuple = (28, 24, 20)) -> np.ndarray:
    places = [
        (np.arange(size) - size / 2 + 0.5) * step - middle
        for size, step, middle in zip(shape, spacing, centre_mm, strict=True)
    ]
    x, y, z = np.meshgrid(*places, indexing="ij")
    return (x**2 + y**2 + z**2 <= radius_mm**2).astype(np.uint8)


def by_distance_maps(found: np.ndarray, true: np.ndarray, spacing: tuple) -> tuple[float, float]:
    """HD95 and ASSD from dense distance maps."""
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (found, true)]
    maps = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    there, back = maps[1][edges[0]], maps[0][edges[1]]
    return max(np.quantile(there, 0.95), np.quantile(back, 0.95)), np.concatenate([there, back]).mean()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.25, 2.0)])
def test_surface_distances_equal_those_of_distance_maps_and_of_monai(spacing):
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    found, true = ball(9, spacing, (1.5, 0, 0.5)), ball(8, spacing)
    found[2, 3, 4] = 1  # a speck far away
    row = surface_values(found, true, spacing)[0]
    hd95, assd = by_distance_maps(found > 0, true > 0, spacing)
    assert (row.hd95_mm, row.assd_mm) == pytest.approx((hd95, assd), rel=1e-5) and row.empty == "no"
    pair = [torch.from_numpy(mask)[None, None].float() for mask in (found, true)]
    options = {"include_background": True, "spacing": list(spacing)}
    assert row.hd95_mm == pytest.approx(float(compute_hausdorff_distance(*pair, percentile=95, **options)), rel=1e-5)
    assert row.assd_mm == pytest.approx(
        float(compute_average_surface_distance(*pair, symmetric=True, **options)), rel=1e-5
    )
    within = compute_surface_dice(*pair, [1.0], use_subvoxels=True, **options)
    assert row.surface_dice_1mm == pytest.approx(float(within), abs=1e-5)


def test_shifted_slab_is_as_far_away_as_it_was_shifted_in_mm():
    true = np.zeros((30, 12, 12), dtype=np.uint8)
    true[5:20] = 2
    moved = np.roll(true, 1, axis=0)
    faces, sides = 2 * 12 * 12, 4 * 12 * 15 * 1.6  # mm2
    for spacing, within in ((0.8, 1.0), (1.6, sides / (faces + sides))):  # the faces are 0.8 or 1.6 mm off
        gm = surface_values(moved, true, (spacing, 1.0, 1.0))[1]
        assert gm.hd95_mm == pytest.approx(spacing)
        assert gm.surface_dice_1mm == pytest.approx(within, abs=0.03), "but for the rims"


def test_equal_maps_agree_and_empty_tissues_are_told():
    labels = np.zeros((12, 12, 12), dtype=np.uint8)
    labels[2:6, 2:10, 2:10], labels[6:9, 2:10, 2:10] = 1, 2
    same = dict(zip(TISSUES, surface_values(labels, labels, (1, 1, 1)), strict=True))
    assert same["gm"].hd95_mm == same["gm"].assd_mm == 0 and same["gm"].surface_dice_1mm == 1
    assert same["wm"].empty == "both" and np.isnan(same["wm"].surface_dice_1mm)
    without = dict(zip(TISSUES, surface_values(np.where(labels == 2, 0, labels), labels, (1, 1, 1)), strict=True))
    assert without["gm"].empty == "prediction" and without["gm"].surface_dice_1mm == 0
    assert np.isnan(without["gm"].hd95_mm) and without["csf"].empty == "no"
    with pytest.raises(ValueError, match="voxel sizes"):
        surface_values(labels, labels, (1, 1))
    with pytest.raises(ValueError, match="one shape"):
        surface_values(labels, labels[:-1], (1, 1, 1))


def test_volume_agreement_is_bland_and_altmans():
    table = volumes(150)
    found = details(table, NO_BASELINE, table, None, "segmentation", Bootstrap(1000, seed=1))
    own = found[(found["group"] == "tissue=GM") & (found["setting"] == "volumes")].set_index("metric")
    gm = table[table["tissue"] == "GM"]
    difference = (gm["volume_ml"] - gm["reference_ml"]).to_numpy()
    mean, sd, n = difference.mean(), difference.std(ddof=1), len(difference)
    expected = [mean, mean - 1.959964 * sd, mean + 1.959964 * sd]
    assert own["value"].tolist() == pytest.approx(expected, abs=1e-3)
    of_mean, of_limit = 1.96 * sd / np.sqrt(n), 1.96 * sd * np.sqrt(1 / n + 1.96**2 / (2 * (n - 1)))
    half = ((own["ci_high"] - own["ci_low"]) / 2).tolist()
    assert half == pytest.approx([of_mean, of_limit, of_limit], rel=0.25)


def test_empty_predictions_are_counted_and_do_not_count_as_distances():
    table = volumes(20).assign(empty="no")
    lost = (table["tissue"] == "GM") & table["scan_id"].isin(table["scan_id"].unique()[:2])
    table.loc[lost, ["empty", "hd95_mm"]] = ["prediction", np.nan]
    found = details(table, NO_BASELINE, table, None, "segmentation", QUICK)
    counts = found[found["metric"] == "empty_predictions"].set_index("group")
    assert counts["value"].to_dict() == {"tissue=CSF": 0, "tissue=GM": 2}
    assert table["scan_id"].iloc[0] in counts.loc["tissue=GM", "note"]
    metrics = evaluate(table, NO_BASELINE, "segmentation", QUICK)
    row = metrics[(metrics["metric"] == "hd95_mm") & (metrics["group"] == "tissue=GM")].squeeze()
    own = table[(table["tissue"] == "GM") & ~lost]["hd95_mm"]
    assert row["value"] == pytest.approx(own.mean(), abs=1e-6) and row["n"] == 18
    by_volume = volumes(20)
    by_volume.loc[lost, "volume_ml"] = 0
    found = details(by_volume, NO_BASELINE, by_volume, None, "segmentation", QUICK)
    assert found[found["metric"] == "empty_predictions"]["value"].tolist() == [0, 2]
