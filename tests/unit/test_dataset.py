"""Splits, samples and packing: a person never stands on two sides, and nothing is packed that has changed."""

import gzip
import json
import stat

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from neurocohort.dataset.leakage import check_no_leakage
from neurocohort.dataset.pack import pack_scans
from neurocohort.dataset.packs import packed_scans
from neurocohort.dataset.samples import select_samples
from neurocohort.dataset.split import PARTS, split_participants
from neurocohort.errors import InputError
from neurocohort.files import sha256_of
from neurocohort.imaging.derivatives import qc_name, scan_folder
from neurocohort.sources.raw_bids import voxels_sha256


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
    scans["scan_id"] = scans["participant_id"] + "_" + scans["session_id"]
    return scans.assign(voxels_sha256=[f"{seed}-{number}" for number in range(len(scans))])


def tables_of(scans: pd.DataFrame, excluded: tuple[str, ...] = ()) -> dict:
    status = ["excluded" if name in excluded else "ok" for name in scans["scan_id"]]
    return {
        "scans": scans,
        "split": split_participants(scans, validation=0.2, held_out=0.4, seed=1, folds=3),
        "qc": scans[["scan_id", "participant_id"]].assign(status=status, has_labels="yes"),
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


def test_empty_part_is_refused_with_the_ways_out():
    with pytest.raises(InputError, match="validation"):
        select_samples({"a": tables_of(cohort(2))}, [], task="regression", target="age", query="")


# --- what is learned of a variable --------------------------------------------------------------------------------


def classified(scans: pd.DataFrame, target: str, **options) -> pd.DataFrame:
    samples, _ = select_samples({"a": tables_of(scans)}, [], task="classification", target=target, query="", **options)
    return samples.merge(scans[["scan_id", target]], on="scan_id", suffixes=("_of_sample", ""))


def diagnosed(count: int = 60) -> pd.DataFrame:
    return cohort(count).assign(diagnosis=(["AD", "CN", "MCI", None, "CN"] * count)[:count])


def test_sex_becomes_two_classes():
    samples = classified(cohort(40), "sex")
    assert ((samples["sex"] == "M") == (samples["target"] == 1)).all()


def test_classes_of_a_text_are_the_negative_and_the_positive_one_and_others_are_left_out():
    samples = classified(diagnosed(), "diagnosis", classes=["CN", "AD"])
    assert set(samples["diagnosis"]) == {"CN", "AD"}
    assert ((samples["diagnosis"] == "AD") == (samples["target"] == 1)).all()
    other = classified(diagnosed(), "diagnosis", classes=["MCI", "AD"])
    assert set(other["diagnosis"]) == {"MCI", "AD"} and ((other["diagnosis"] == "AD") == (other["target"] == 1)).all()


def test_flow_counts_those_without_a_value_and_those_of_other_classes_apart():
    tables = {"a": tables_of(diagnosed(50))}
    options = {"task": "classification", "target": "diagnosis", "query": "", "classes": ["CN", "AD"]}
    _, flow = select_samples(tables, [], **options)
    steps = dict(zip(flow["step"], flow["scans"], strict=True))
    assert steps["with a value of diagnosis"] == 40 and steps["diagnosis is CN or AD"] == 30


@pytest.mark.parametrize("classes", [["0", "0.5"], ["0.0", "0.50"]])
def test_classes_of_numbers_are_compared_as_numbers(classes):
    scans = cohort(60).assign(cdr=([0.0, 0.5, 1.0] * 60)[:60])
    samples = classified(scans, "cdr", classes=classes)
    assert len(samples) == 40 and ((samples["cdr"] == 0.5) == (samples["target"] == 1)).all()


def test_classes_of_true_and_false_are_understood_as_yaml_writes_them():
    scans = cohort(40).assign(carrier=[True, False] * 20)
    samples = classified(scans, "carrier", classes=["false", "true"])
    assert (samples["carrier"] == (samples["target"] == 1)).all()


def test_a_class_that_only_the_external_cohort_has_is_no_error():
    external = diagnosed(10).assign(diagnosis="AD", voxels_sha256=[f"x{number}" for number in range(10)])
    external[["participant_id", "scan_id"]] = "x" + external[["participant_id", "scan_id"]]
    own = diagnosed(40)
    own["diagnosis"] = own["diagnosis"].replace("AD", "MCI")
    tables = {"a": tables_of(own), "b": tables_of(external)}
    options = {"task": "classification", "target": "diagnosis", "query": "", "classes": ["CN", "AD"]}
    samples, _ = select_samples(tables, ["b"], **options)
    assert samples.groupby("cohort")["target"].unique().map(list).to_dict() == {"a": [0], "b": [1]}


@pytest.mark.parametrize(
    ("values", "classes", "said"),
    [
        (["AD", "CN"], None, r"values AD, CN; which.*`classes: \[AD, CN\]` or the other way round"),
        (["AD", "CN", "MCI"], None, r"values AD, CN, MCI; which.*`classes: \[negative, positive\]`"),
        ([0, 0.5, 1], None, r"values 0, 0\.5, 1; which"),
        ([True, False], None, r"values False, True; which"),
        (["AD", "CN"], ["CN", "SCD"], r"names 'SCD', which no scan has; the values are AD, CN"),
        ([0, 1, 2], ["0", "3"], r"names '3', which no scan has; the values are 0, 1, 2"),
        (["AD", "CN"], ["AD", "AD"], r"names 'AD' twice"),
        ([0, 1, 2], ["1", "1.0"], r"names '1' twice"),
    ],
)
def test_classes_that_are_not_known_are_asked_for_with_the_values_found(values, classes, said):
    scans = cohort(30).assign(group=(values * 30)[:30])
    with pytest.raises(InputError, match=said):
        classified(scans, "group", classes=classes)


def test_regression_on_a_text_is_refused_with_its_values():
    with pytest.raises(InputError, match=r"regression needs numbers; the cohort a has F, M\."):
        select_samples({"a": tables_of(cohort(30))}, [], task="regression", target="sex", query="")


def test_variables_of_a_user_may_have_the_names_of_our_own_columns():
    scans = cohort(40).assign(part="left", fold="twofold", row=7, target=3.5, has_labels="no")
    samples, _ = select_samples({"a": tables_of(scans)}, [], task="regression", target="target", query="row == 7")
    assert len(samples) == 40 and (samples["target"] == 3.5).all() and set(samples["part"]) == set(PARTS)
    for _, packed in samples.groupby("pack"):
        assert sorted(packed["row"]) == list(range(len(packed)))
    assert set(samples["fold"].dropna()) == {1, 2, 3}


# --- the split in the samples -------------------------------------------------------------------------------------


def test_participants_that_the_split_file_excludes_are_a_step_of_the_flow():
    tables = tables_of(cohort(40, repeats=2))
    tables["split"].loc[:2, ["part", "fold"]] = ["excluded", pd.NA]
    samples, flow = select_samples({"a": tables}, [], task="regression", target="age", query="")
    assert not samples["participant_id"].isin(["sub-000", "sub-001", "sub-002"]).any()
    row = flow.set_index("step").loc["not excluded by the split file"]
    assert (row["scans"], row["participants"]) == (42 - 5, 40 - 3)


def test_participant_twice_in_the_split_stops_with_the_name():
    tables = tables_of(cohort(30))
    again = tables["split"].head(1).assign(part="held-out")
    tables["split"] = pd.concat([tables["split"], again], ignore_index=True)
    with pytest.raises(InputError, match=r"split of a names 1 participant\(s\) more than once: sub-000"):
        select_samples({"a": tables}, [], task="regression", target="age", query="")


def test_participant_without_a_part_stops_with_the_name_and_is_not_dropped():
    tables = tables_of(cohort(30))
    tables["split"] = tables["split"].drop(index=4)
    with pytest.raises(InputError, match=r"split of a lacks 1 participant\(s\) of its scans: sub-004"):
        select_samples({"a": tables}, [], task="regression", target="age", query="")


# --- the guard against leakage ------------------------------------------------------------------------------------


def two_cohorts() -> dict[str, dict[str, pd.DataFrame]]:
    """Two cohorts of different people and images, named after themselves."""
    tables = {}
    for name, seed in (("ixi", 1), ("oasis1", 2)):
        scans = cohort(40, seed=seed)
        scans[["participant_id", "scan_id"]] = scans[["participant_id", "scan_id"]].replace(
            "sub-", f"sub-{name}", regex=True
        )
        tables[name] = tables_of(scans)
    return tables


def select(tables: dict, external: tuple[str, ...] = ()) -> pd.DataFrame:
    return select_samples(tables, list(external), task="regression", target="age", query="")[0]


def in_part(tables: dict[str, pd.DataFrame], part: str) -> int:
    """The row of a scan whose participant is in ``part``."""
    who = tables["split"].loc[tables["split"]["part"] == part, "participant_id"].iloc[0]
    return tables["scans"].index[tables["scans"]["participant_id"] == who][0]


def test_cohorts_of_different_people_and_images_pass():
    assert len(select(two_cohorts())) == len(select(two_cohorts(), ["oasis1"])) == 80


def test_repeat_session_on_the_other_side_stops_with_the_names():
    samples = select({"ixi": tables_of(cohort(40, repeats=5))})
    first = samples.index[samples["scan_id"] == "sub-003_ses-1"][0]
    samples.loc[first, "part"] = "held-out" if samples.loc[first, "part"] != "held-out" else "train"
    with pytest.raises(InputError, match=r"sub-003 of ixi \(sub-003_ses-1: [a-z-]+, sub-003_ses-2: [a-z-]+\)"):
        check_no_leakage(samples)


@pytest.mark.parametrize("external", [(), ("oasis1",)], ids=["both trained on", "one external"])
def test_participant_ids_that_two_cohorts_share_stop_with_both_names_and_the_ways_out(external):
    tables = two_cohorts()
    one, other = in_part(tables["ixi"], "train"), in_part(tables["oasis1"], "held-out")
    name = tables["ixi"]["scans"].loc[one, "participant_id"]
    old = tables["oasis1"]["scans"].loc[other, "participant_id"]
    for table in ("scans", "split", "qc"):
        tables["oasis1"][table]["participant_id"] = tables["oasis1"][table]["participant_id"].replace(old, name)
    side = "external" if external else "held-out"
    said = rf"1 participant\(s\) of ixi and oasis1 .*{name} \(ixi: train, oasis1: {side}\).*rename.*`split_file`"
    with pytest.raises(InputError, match=said):
        select(tables, external)


def test_participant_ids_that_two_cohorts_share_in_one_part_are_no_leak():
    tables = two_cohorts()
    for part in PARTS:
        name = f"sub-{part}"
        for of in tables.values():
            old = of["scans"].loc[in_part(of, part), "participant_id"]
            for table in ("scans", "split", "qc"):
                of[table]["participant_id"] = of[table]["participant_id"].replace(old, name)
    assert len(select(tables)) == 80


def voxels(seed: int = 0) -> nib.Nifti1Image:
    data = np.random.default_rng(seed).integers(0, 900, (5, 6, 7), dtype=np.int16)
    return nib.Nifti1Image(data, np.array([[0, 0, 1.2, -4], [-0.9, 0, 0, 8], [0, 0.9, 0, -6], [0, 0, 0, 1]]))


def recompressed(image: nib.Nifti1Image) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(gzip.compress(image.to_bytes(), compresslevel=1)))


def reoriented(image: nib.Nifti1Image) -> nib.Nifti1Image:
    turned = image.as_reoriented(nib.orientations.axcodes2ornt("LAS"))
    return nib.Nifti1Image(np.asarray(turned.dataobj).astype(np.float32), turned.affine)


def with_other_header(image: nib.Nifti1Image) -> nib.Nifti1Image:
    header = image.header.copy()
    header["descrip"] = b"another name, another date"
    return nib.Nifti1Image(image.dataobj, image.affine, header)


COPIES = [recompressed, reoriented, with_other_header]


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("where", ["one cohort", "two cohorts", "an external cohort"])
def test_same_image_under_two_names_stops_with_both(copy, where):
    tables = two_cohorts()
    ixi, oasis1 = tables["ixi"], tables["oasis1"]
    one = in_part(ixi, "train")
    other = ixi if where == "one cohort" else oasis1
    two = in_part(other, "train" if where == "an external cohort" else "validation")
    ixi["scans"].loc[one, "voxels_sha256"] = voxels_sha256(voxels())
    other["scans"].loc[two, "voxels_sha256"] = voxels_sha256(voxels(1))
    external = ["oasis1"] if where == "an external cohort" else []
    assert len(select(tables, external)) == 80, "another image is no copy"

    other["scans"].loc[two, "voxels_sha256"] = voxels_sha256(copy(voxels()))
    with pytest.raises(InputError, match="1 image") as raised:
        select(tables, external)
    cohort_of_copy = "ixi" if other is ixi else "oasis1"
    side = {"an external cohort": "external"}.get(where, "validation")
    assert f"{ixi['scans'].loc[one, 'scan_id']} (ixi: train)" in str(raised.value)
    assert f"{other['scans'].loc[two, 'scan_id']} ({cohort_of_copy}: {side})" in str(raised.value)


def test_same_image_twice_in_one_part_is_no_leak():
    tables = two_cohorts()
    tables["ixi"]["scans"].loc[in_part(tables["ixi"], "train"), "voxels_sha256"] = "same"
    tables["oasis1"]["scans"].loc[in_part(tables["oasis1"], "train"), "voxels_sha256"] = "same"
    assert len(select(tables)) == 80


@pytest.mark.parametrize("column", ["voxels_sha256", "participant_id"])
def test_guard_does_not_pass_what_it_cannot_check(column):
    samples = select(two_cohorts())
    with pytest.raises(InputError, match=rf"lack the column\(s\) {column}"):
        check_no_leakage(samples.drop(columns=column))
    samples.loc[3, column] = None
    with pytest.raises(InputError, match=samples.loc[3, "scan_id"]):
        check_no_leakage(samples)


def test_a_long_list_of_leaks_is_cut():
    samples = select(two_cohorts())
    with pytest.raises(InputError, match=r"40 participant\(s\) are in more than one part.* and 30 more") as raised:
        check_no_leakage(pd.concat([samples, samples.assign(part="elsewhere")]).query("cohort == 'ixi'"))
    assert str(raised.value).count("sub-ixi") == 30  # ten participants, each with both scans


@pytest.fixture
def preprocessed(tmp_path):
    """Two good scans and an excluded one, as preprocessing leaves them."""
    for number, status in enumerate(["ok", "excluded", "ok"]):
        scan_id = f"scan{number}"
        folder = scan_folder(tmp_path / "preproc", scan_id)
        folder.mkdir(parents=True, exist_ok=True)
        outputs = {}
        if status == "ok":
            data = np.zeros((32, 32, 32), dtype=np.float32)
            data[8:24, 8:24, 8:24] = np.random.default_rng(number).random((16, 16, 16))
            data[8, 8, 8] = 1.0
            name = f"image{number}.nii.gz"
            nib.save(nib.Nifti1Image(data, np.diag([3.0, 3, 3, 1])), folder / name)
            outputs["preproc_T1w"] = {"file": name, "sha256": sha256_of(folder / name)}
        record = {"scan_id": scan_id, "status": status, "outputs": outputs}
        (folder / qc_name(scan_id)).write_text(json.dumps(record))
    return tmp_path, ["scan0", "scan2"]


def test_held_out_scans_lie_in_a_pack_of_their_own_and_excluded_ones_in_none():
    qc = pd.DataFrame(
        {"scan_id": list("abcdef"), "participant_id": list("ABCDEF"), "status": ["ok"] * 4 + ["excluded", "ok"]}
    )
    parts = ["train", "held-out", "validation", "held-out", "train", "excluded"]
    packed = packed_scans(qc, pd.DataFrame({"participant_id": list("ABCDEF"), "part": parts}))
    found = {scan: (pack, row) for scan, pack, row in packed.itertuples(index=False)}
    assert found == {"a": ("development", 0), "b": ("held-out", 0), "c": ("development", 1), "d": ("held-out", 1)}


def test_a_pack_without_scans_is_empty_and_can_be_read(tmp_path):
    index = pack_scans([], tmp_path, tmp_path / "images.npy", tmp_path / "labels.npy", ("T1w", "T2w"))
    assert (
        index.empty
        and np.load(tmp_path / "images.npy").shape[:2] == (0, 2)
        and len(np.load(tmp_path / "labels.npy")) == 0
    )


def test_packed_array_holds_the_usable_scans_in_eight_bits(preprocessed):
    folder, usable = preprocessed
    index = pack_scans(usable, folder / "preproc", folder / "images.npy", folder / "labels.npy")
    images = np.load(folder / "images.npy", mmap_mode="r")
    assert index["scan_id"].tolist() == ["scan0", "scan2"] and images.shape == (2, 1, 32, 32, 32)
    original = nib.load(scan_folder(folder / "preproc", "scan2") / "image2.nii.gz").get_fdata()
    assert np.abs(images[1, 0] / 255 - original).max() <= 0.5 / 255 + 1e-6


def test_whoever_may_not_read_one_scan_may_not_read_the_pack_with_it(preprocessed):
    folder, usable = preprocessed
    private = scan_folder(folder / "preproc", usable[1]) / "image2.nii.gz"
    for mode in (0o644, 0o640, 0o600):
        private.chmod(mode)
        pack_scans(usable, folder / "preproc", folder / "images.npy", folder / "labels.npy")
        for name in ("images.npy", "labels.npy"):
            assert stat.S_IMODE((folder / name).stat().st_mode) & 0o077 == mode & 0o044, name


@pytest.mark.parametrize("damage", ["deleted", "changed"])
def test_image_that_changed_after_preprocessing_is_not_packed(preprocessed, damage):
    folder, usable = preprocessed
    image = scan_folder(folder / "preproc", "scan2") / "image2.nii.gz"
    if damage == "deleted":
        image.unlink()
    else:
        image.write_bytes(image.read_bytes() + b"x")
    with pytest.raises(InputError, match=r"image2.*run again"):
        pack_scans(usable, folder / "preproc", folder / "images.npy", folder / "labels.npy")
    assert not (folder / "images.npy").exists(), "a file under its final name is whole"
