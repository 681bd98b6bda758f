"""Intensity scales, quality numbers and gates: what a bad scan is told by."""

import ast

import numpy as np
import pandas as pd
import pytest
from neurocohort.dataset.quality_flags import robust_z_by_site
from neurocohort.dataset.quality_limits import QualityLimits, beyond_limits
from neurocohort.dataset.quality_table import quality_tables
from neurocohort.errors import ScanExcluded
from neurocohort.files import write_json
from neurocohort.imaging import preprocess
from neurocohort.imaging.brain_extraction import content_mask
from neurocohort.imaging.derivatives import qc_path
from neurocohort.imaging.field_of_view import cut_area_cm2
from neurocohort.imaging.intensity import normalise
from neurocohort.imaging.quality import quality_numbers
from neurocohort.imaging.volume import Volume

SHAPE = (60, 60, 60)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def ball(radius_mm: float) -> np.ndarray:
    index = np.indices(SHAPE) - (np.array(SHAPE) - 1)[:, None, None, None] / 2
    return np.sqrt(((index * 2.0) ** 2).sum(axis=0)) < radius_mm


def head(noise: float, shading: float = 0.0) -> tuple[Volume, np.ndarray, np.ndarray]:
    """A ball of three shells in noise, its mask and its tissues (CSF, GM, WM)."""
    rng = np.random.default_rng(0)
    outer, middle, inner = ball(50), ball(44), ball(30)
    tissues = np.stack([outer & ~middle, middle & ~inner, inner]).astype(np.float32)
    signal = np.tensordot(np.array([30.0, 70.0, 100.0]), tissues, axes=1)
    signal *= 1 + shading * np.linspace(-1, 1, SHAPE[0])[:, None, None]
    data = np.hypot(signal + rng.normal(0, noise, SHAPE), rng.normal(0, noise, SHAPE))
    return Volume(data.astype(np.float32), AFFINE), outer, tissues


def numbers(noise: float, field_spread: float = 0.1) -> dict[str, float]:
    scan, mask, tissues = head(noise)
    field = np.linspace(1 - field_spread, 1 + field_spread, int(mask.sum()))
    return quality_numbers(scan, scan, mask, tissues, field)


def test_noise_lowers_what_should_be_high_and_raises_what_should_be_low():
    quiet, noisy = numbers(2.0), numbers(8.0)
    assert all(quiet[name] > 2 * noisy[name] for name in ("snr_gm", "snr_wm", "cnr", "fber"))
    assert quiet["cjv"] < noisy["cjv"] and quiet["efc"] < noisy["efc"]


def test_signal_to_noise_and_foreground_to_background_have_the_known_values():
    found = numbers(4.0)
    assert found["snr_wm"] == pytest.approx(100 / 4, rel=0.05)
    # The median of squared Rayleigh noise is 2 ln 2 times its variance.
    assert found["fber"] == pytest.approx(70**2 / (2 * np.log(2) * 4**2), rel=0.25)
    assert found["inu_range"] == pytest.approx(0.9 * 0.2, rel=0.01)


def test_a_background_that_was_painted_out_has_no_foreground_to_background_ratio():
    scan, mask, tissues = head(3.0)
    stripped = Volume(scan.data * mask, AFFINE)
    assert "fber" not in quality_numbers(stripped, stripped, mask, tissues, np.ones(10))


@pytest.mark.parametrize("method", ["percentile", "zscore", "white_matter_peak"])
def test_intensities_of_one_head_in_other_units_come_to_one_scale(method):
    scan, mask, tissues = head(4.0)
    first, second = (normalise(scan.data * factor, mask, method, tissues[2] > 0.5) for factor in (1.0, 37.5))
    assert first.min() >= 0 and first.max() <= 1 and not first[~mask].any()
    np.testing.assert_allclose(first, second, atol=1e-4)


def test_the_peak_of_white_matter_lies_where_it_is_said():
    scan, mask, tissues = head(4.0)
    scaled = normalise(scan.data, mask, "white_matter_peak", tissues[2] > 0.5)
    assert np.median(scaled[tissues[2] > 0.5]) == pytest.approx(0.75, abs=0.02)


def test_a_brain_that_the_field_of_view_cuts_is_told_by_its_area_on_the_border():
    scan, mask, _ = head(2.0)
    cut = slice(None), slice(None), slice(15, None)
    part = Volume(scan.data[cut], AFFINE)
    area = np.pi * (50**2 - 29**2) / 100  # of the section at 29 mm from the centre, in cm2
    assert cut_area_cm2(part, mask[cut], skull_stripped=False)[0] == pytest.approx(area, rel=0.03)
    assert cut_area_cm2(scan, mask, skull_stripped=False)[0] == 0
    limits = QualityLimits(max_mask_border_cm2=30)
    stage, reason = beyond_limits(
        {"mask_border_cm2": cut_area_cm2(part, mask[cut], skull_stripped=False)[0]}, limits, mni_space=False
    )
    assert stage == "brain_extraction" and "the brain is cut" in reason and "at most 30 cm2" in reason


@pytest.mark.parametrize(
    ("number", "stage", "words"),
    [
        ({"mask_ml": 80.0}, "brain_extraction", "the brain mask has 80 mL, expected 700 to 2200 mL"),
        (
            {"mutual_information": 0.3},
            "registration",
            "0.300 nats of information with the template, expected at least 0.50, after 7",
        ),
        ({"template_dice": 0.85}, "registration", "Dice 0.850, expected at least 0.90, after 7 starts"),
    ],
)
def test_a_scan_beyond_a_limit_is_excluded_with_stage_and_reason_whatever_came_of_it(number, stage, words):
    good = {"mask_ml": 1400.0, "mask_border_cm2": 0.0, "mutual_information": 0.6, "template_dice": 0.95}
    limits = QualityLimits(0.9, 0.5, 700.0, 2200.0, 30.0)
    assert beyond_limits(good | {"registration_starts": 7}, limits, mni_space=False) is None
    found = beyond_limits(good | {"registration_starts": 7} | number, limits, mni_space=False)
    assert found[0] == stage and words in found[1]


def test_the_mask_of_a_stripped_scan_is_its_content_without_crumbs_and_holes():
    scan, mask, _ = head(2.0)
    data = scan.data * mask
    data[30, 30, 30] = 0  # a hole
    data[2, 2, 2] = 5  # a crumb
    assert np.array_equal(content_mask(Volume(data, AFFINE)), mask)
    shifted = np.where(mask, data, -1024)  # a background that isn't 0
    assert np.array_equal(content_mask(Volume(shifted, AFFINE)), mask)


def test_a_scan_that_is_said_to_be_stripped_and_is_not_is_excluded():
    with pytest.raises(ScanExcluded, match="skull_stripped: true"):
        content_mask(head(2.0)[0])


def test_a_scan_beyond_the_limit_for_outliers_is_excluded_with_the_number(tmp_path):
    ids = [f"s{number}" for number in range(12)]
    for number, scan_id in enumerate(ids):
        cjv = 2.0 if number == 5 else 0.5 + 0.01 * number
        record = {"scan_id": scan_id, "status": "ok", "stage": None, "reason": None}
        write_json(
            qc_path(tmp_path, scan_id),
            record | {"outputs": {}, "metrics": {"cjv": cjv}, "volumes_ml": {}},
        )
    scans = pd.DataFrame({"scan_id": ids, "participant_id": ids, "site": "x"})
    none = pd.DataFrame(columns=["participant_id", "scan_id", "stage", "reason"])
    assert (quality_tables(scans, none, tmp_path)[0]["status"] == "ok").all(), "off unless asked for"
    qc, exclusions, _ = quality_tables(scans, none, tmp_path, QualityLimits(max_outlier_z=8.0))
    assert exclusions["scan_id"].tolist() == ["s5"] and exclusions["stage"].tolist() == ["quality"]
    assert exclusions["reason"][0].startswith("cjv is 2, ") and " above the median" in exclusions["reason"][0]
    assert (qc["status"] == "ok").sum() == 11


@pytest.mark.parametrize(
    ("number", "value", "excluded"),
    [
        ("mutual_information", 2.0, False),
        ("mutual_information", -1.0, True),
        ("template_dice", 2.0, False),
        ("fber", 2.0, False),
        ("cjv", -1.0, False),
        ("cjv", 2.0, True),
        ("mask_ml", 2.0, True),
        ("mask_ml", -1.0, True),
        ("volume_csf_ml", 2.0, False),
    ],
)
def test_no_scan_is_excluded_for_a_number_that_is_unusually_good_or_for_its_volumes(tmp_path, number, value, excluded):
    ids = [f"s{index:02}" for index in range(24)]
    for index, scan_id in enumerate(ids):
        found = {number: value if index == 5 else 0.5 + 0.01 * index}
        volumes = {"csf": found.pop("volume_csf_ml")} if number == "volume_csf_ml" else {}
        record = {"scan_id": scan_id, "status": "ok", "stage": None, "reason": None, "outputs": {}}
        write_json(qc_path(tmp_path, scan_id), record | {"metrics": found, "volumes_ml": volumes})
    scans = pd.DataFrame({"scan_id": ids, "participant_id": ids, "site": "x"})
    none = pd.DataFrame(columns=["participant_id", "scan_id", "stage", "reason"])
    qc, exclusions, _ = quality_tables(scans, none, tmp_path, QualityLimits(max_outlier_z=6.0))
    assert abs(qc.set_index("scan_id").at["s05", f"{number}_z"]) > 6, "the score is in the table in any case"
    assert exclusions["scan_id"].tolist() == (["s05"] if excluded else [])


def test_no_view_of_an_image_outlives_it(repository):
    """A view by SimpleITK does not keep its image: that of a nameless one reads freed memory, and its numbers vary by chance."""
    for path in (repository / "workflow").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("GetArrayViewFromImage"):
                assert isinstance(node.args[0], ast.Name), f"{path.name}, line {node.lineno}: use GetArrayFromImage"


def test_an_outlier_of_a_site_with_many_scans_is_measured_against_its_own_site():
    normal = np.random.default_rng(0).standard_normal(40)
    values = pd.Series([*(10 + normal[:19]), 30, *(100 + normal[19:39])])
    z = robust_z_by_site(values, pd.Series(["a"] * 20 + ["b"] * 20))
    assert z[19] > 10 and z[20:].abs().max() < 3.5


def test_a_site_of_a_handful_of_scans_is_scored_against_all_sites_together():
    shared = [0.80 + 0.005 * index for index in range(20)]
    alike = [
        0.8400,
        0.8401,
        0.8402,
        0.8400,
        0.8600,
    ]  # the last one is far from its four fellows, and ordinary in the cohort
    z = robust_z_by_site(pd.Series([*shared, *alike]), pd.Series(["a"] * 20 + ["b"] * 5))
    assert z[20:].abs().max() < 1


def test_a_cohort_of_a_handful_of_scans_has_no_scores():
    values = pd.Series([0.5, 0.51, 0.49, 0.5, 0.9])
    assert robust_z_by_site(values, pd.Series(["a"] * 5)).isna().all()


def test_notes_of_preprocessing_name_the_scans_that_are_used(tmp_path):
    ids = ["s0", "s1", "s2"]
    for scan_id in ids:
        lost = {"status": "excluded", "stage": "read", "reason": "broken"} if scan_id == "s1" else {}
        record = {"scan_id": scan_id, "status": "ok", "stage": None, "reason": None} | lost
        notes = [] if scan_id == "s0" else ["The brain is cut\tby 0.3 %.", "=1+1 is low."]
        write_json(
            qc_path(tmp_path, scan_id), record | {"outputs": {}, "metrics": {}, "volumes_ml": {}, "notes": notes}
        )
    scans = pd.DataFrame({"scan_id": ids, "participant_id": ["p0", "p1", "p2"], "site": "x"})
    none = pd.DataFrame(columns=["participant_id", "scan_id", "stage", "reason"])
    _, _, notes = quality_tables(scans, none, tmp_path)
    assert [(note.stage, note.participant_id, note.scan_id, note.note) for note in notes] == [
        ("preprocessing", "p2", "s2", "The brain is cut by 0.3 %."),
        ("preprocessing", "p2", "s2", "'=1+1 is low."),
    ]


# --- steps that fail --------------------------------------------------------------------------------------------------


def preprocessed(monkeypatch, folder, metrics, error=None) -> preprocess.PreprocessedScan:
    """The result of a scan with these ``metrics``, at which a stage then fails with ``error``."""

    def stages(result, *_):
        yield result.with_metrics(metrics)
        if error:
            raise error

    monkeypatch.setattr(preprocess, "_stages", stages)
    images, settings = (
        preprocess.ScanImages(folder / "scan.nii.gz"),
        preprocess.Settings(intensity="percentile", seed=1),
    )
    return preprocess.preprocess_scan(images, None, settings)


def test_an_image_that_a_step_fails_on_is_a_row(monkeypatch, tmp_path):
    result = preprocessed(monkeypatch, tmp_path, {"mask_ml": 300.0}, RuntimeError("N4: Zero-valued spacing"))
    assert result.exclusion.stage == "preprocessing" and result.metrics == {"mask_ml": 300.0}
    assert "the brain mask has 300 mL" in result.exclusion.reason
    assert "RuntimeError: N4: Zero-valued spacing" in result.exclusion.reason


@pytest.mark.parametrize(
    "error",
    [MemoryError(), OSError("disk full"), RuntimeError("CUDA error: unspecified launch failure"), TypeError("x")],
)
def test_a_fault_of_the_machine_or_the_program_excludes_nobody(monkeypatch, tmp_path, error):
    with pytest.raises(type(error)):
        preprocessed(monkeypatch, tmp_path, {}, error)


def test_a_number_that_is_not_finite_excludes_its_scan_and_is_named(monkeypatch, tmp_path):
    result = preprocessed(monkeypatch, tmp_path, {"cnr": float("nan"), "efc": 0.5})
    assert "cnr" in result.exclusion.reason
    assert result.metrics == {"cnr": None, "efc": 0.5}
