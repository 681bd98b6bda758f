"""Splits, samples and packing: a person never stands on two sides, and nothing is packed that has changed."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from neurocohort.dataset.pack import pack_cohort
from neurocohort.dataset.quality_table import robust_z_by_site
from neurocohort.dataset.samples import check_no_leakage, select_samples
from neurocohort.dataset.split import split_participants
from neurocohort.errors import InputError
from neurocohort.files import sha256_of


def cohort(count: int, seed: int = 0, repeats: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    scans = pd.DataFrame(
        {
            "participant_id": [f"sub-{i:03d}" for i in range(count)],
            "session_id": "ses-1",
            "site": rng.choice(["Guys", "HH", "IOP"], count, p=[0.5, 0.3, 0.2]),
            "age": rng.uniform(20, 86, count).round(2),
            "sex": rng.choice(["M", "F"], count),
            "dementia": rng.choice([0, 1, np.nan], count),
        }
    )
    second = scans.head(repeats).assign(session_id="ses-2", dementia=np.nan)
    scans = pd.concat([scans, second], ignore_index=True)
    return scans.assign(scan_id=scans["participant_id"] + "_" + scans["session_id"])


def test_split_has_the_shares_and_is_alike_in_age_site_and_class():
    scans = cohort(300)
    split = split_participants(scans, validation=0.15, held_out=0.25, seed=1)
    counts = split["part"].value_counts()
    assert counts.to_dict() == {"train": 180, "held-out": 75, "validation": 45}
    people = scans.merge(split, on="participant_id")
    assert people.groupby("part")["age"].mean().between(48, 58).all()
    shares = people.groupby("part")["site"].value_counts(normalize=True).unstack()
    assert (shares.max() - shares.min()).max() < 0.12
    classes = people.assign(case=people["dementia"].fillna(-1)).groupby("part")["case"].value_counts(normalize=True)
    assert (classes.unstack().max() - classes.unstack().min()).max() < 0.06


def test_repeat_session_never_crosses_the_split():
    scans = cohort(40, repeats=12)
    split = split_participants(scans, validation=0.2, held_out=0.4, seed=3)
    assert len(split) == 40 and split["participant_id"].is_unique


def test_split_depends_on_its_seed_and_not_on_the_order_of_rows():
    scans = cohort(60)
    first = split_participants(scans, validation=0.2, held_out=0.3, seed=1)
    shuffled = split_participants(scans.sample(frac=1, random_state=5), validation=0.2, held_out=0.3, seed=1)
    other = split_participants(scans, validation=0.2, held_out=0.3, seed=2)
    pd.testing.assert_frame_equal(first, shuffled)
    assert (first["part"] != other["part"]).any()


def tables_of(scans: pd.DataFrame, excluded: tuple[str, ...] = ()) -> dict:
    usable = scans.loc[~scans["scan_id"].isin(excluded), "scan_id"].reset_index(drop=True)
    return {
        "scans": scans,
        "split": split_participants(scans, validation=0.2, held_out=0.4, seed=1),
        "index": pd.DataFrame({"row": range(len(usable)), "scan_id": usable, "has_labels": 1}),
    }


def test_selection_counts_what_is_lost_at_each_step():
    scans = cohort(50)
    scans.loc[[3, 4], "age"] = np.nan
    tables = {"a": tables_of(scans, excluded=("sub-000_ses-1",))}
    samples, flow = select_samples(tables, [], task="regression", target="age", query="sex == 'F' or site != 'Guys'")
    assert flow["scans"].tolist()[:2] == [50, 49] and flow["scans"].is_monotonic_decreasing
    assert len(samples) == flow["scans"].iloc[-1] and samples["target"].notna().all()
    assert not ((samples["sex"] == "M") & (samples["site"] == "Guys")).any()


def test_external_cohort_is_tested_and_never_trained_on():
    other = cohort(12, seed=9)
    other[["participant_id", "scan_id"]] = "x" + other[["participant_id", "scan_id"]]
    tables = {"a": tables_of(cohort(40)), "b": tables_of(other.drop(columns="dementia"))}
    samples, _ = select_samples(tables, ["b"], task="regression", target="age", query="dementia != 1")
    assert (samples.loc[samples["cohort"] == "b", "part"] == "external").all()
    assert (samples["cohort"] == "b").sum() == 12, "a cohort without the filter's column is kept whole"


def test_same_participant_in_two_cohorts_stops_the_run_with_the_name():
    tables = {"a": tables_of(cohort(40)), "b": tables_of(cohort(5))}
    with pytest.raises(InputError, match="sub-000"):
        select_samples(tables, ["b"], task="regression", target="age", query="")


def test_leak_is_named():
    samples = pd.DataFrame({"participant_id": ["p1", "p2", "p1"], "part": ["train", "train", "held-out"]})
    with pytest.raises(InputError, match="p1"):
        check_no_leakage(samples)


def test_empty_part_is_refused_with_the_ways_out():
    with pytest.raises(InputError, match="validation"):
        select_samples({"a": tables_of(cohort(2))}, [], task="regression", target="age", query="")


def test_sex_becomes_two_classes():
    samples, _ = select_samples({"a": tables_of(cohort(40))}, [], task="classification", target="sex", query="")
    assert ((samples["sex"] == "M") == (samples["target"] == 1)).all()


def test_outlier_is_measured_against_its_own_site():
    values = pd.Series([10.0, 11, 9, 10.5, 9.5, 30, 100.0, 101, 99, 100.5, 99.5])
    z = robust_z_by_site(values, pd.Series(["a"] * 6 + ["b"] * 5))
    assert z[5] > 10 and z[6:].abs().max() < 3


@pytest.fixture
def preprocessed(tmp_path):
    """Two good scans and an excluded one, as preprocessing leaves them."""
    rows = []
    for number, status in enumerate(["ok", "excluded", "ok"]):
        scan_id = f"scan{number}"
        folder = tmp_path / "preproc" / scan_id
        folder.mkdir(parents=True)
        outputs = {}
        if status == "ok":
            data = np.zeros((32, 32, 32), dtype=np.float32)
            data[8:24, 8:24, 8:24] = np.random.default_rng(number).random((16, 16, 16))
            data[8, 8, 8] = 1.0
            nib.save(nib.Nifti1Image(data, np.diag([3.0, 3, 3, 1])), folder / "image.nii.gz")
            outputs["preproc"] = {"file": "image.nii.gz", "sha256": sha256_of(folder / "image.nii.gz")}
        record = {"scan_id": scan_id, "status": status, "outputs": outputs}
        (folder / f"{scan_id}_qc.json").write_text(json.dumps(record))
        rows.append({"scan_id": scan_id, "status": status})
    return tmp_path, pd.DataFrame(rows)


def test_packed_array_holds_the_usable_scans_in_eight_bits(preprocessed):
    folder, qc = preprocessed
    index = pack_cohort(qc, folder / "preproc", folder / "images.npy", folder / "labels.npy")
    images = np.load(folder / "images.npy", mmap_mode="r")
    assert index["scan_id"].tolist() == ["scan0", "scan2"] and images.shape == (2, 32, 32, 32)
    original = nib.load(folder / "preproc" / "scan2" / "image.nii.gz").get_fdata()
    assert np.abs(images[1] / 255 - original).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("damage", ["deleted", "changed"])
def test_image_that_changed_after_preprocessing_is_not_packed(preprocessed, damage):
    folder, qc = preprocessed
    image = folder / "preproc" / "scan2" / "image.nii.gz"
    if damage == "deleted":
        image.unlink()
    else:
        image.write_bytes(image.read_bytes() + b"x")
    with pytest.raises(InputError, match=r"scan2.*run again"):
        pack_cohort(qc, folder / "preproc", folder / "images.npy", folder / "labels.npy")
    assert not (folder / "images.npy").exists(), "a file under its final name is whole"
