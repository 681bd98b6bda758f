"""The preprocessed scans of a cohort are a BIDS derivative dataset, whose files say what they were made from."""

import importlib.util
import shutil
from fnmatch import fnmatch
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bids_validator import errors_of
from neurocohort.dataset.derivative import write_dataset_files
from neurocohort.errors import InputError
from neurocohort.files import read_json, read_table, write_json
from neurocohort.imaging.derivatives import qc_path, raw_uri, scan_folder
from neurocohort.imaging.preprocess import ScanImages, Settings, preprocess_scan
from neurocohort.imaging.scan_files import write_scan
from neurocohort.imaging.template import make_template, read_template
from neurocohort.sources.ixi import DESCRIPTION
from neurocohort.version import BIDS_VERSION, public_address

SETTINGS = {"seed": 1, "skull_stripped": True}
SCAN_ID = "sub-01_ses-1"
HAS_GREEDY = importlib.util.find_spec("picsl_greedy") is not None


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A study's folder with one participant: a session with T2w and labels, and a second run of it with none of them, which
    is registered deformably where greedy is installed."""
    folder = tmp_path_factory.mktemp("study")
    make_template(folder / "template.npz", 3.0, (56, 64, 56))
    template, preproc = read_template(folder / "template.npz"), folder / "results" / "ixi" / "preproc"
    raw = folder / "data" / "ixi"
    write_json(raw / "dataset_description.json", {"BIDSVersion": BIDS_VERSION, **DESCRIPTION})
    place, run = "sub-01/ses-1/anat/sub-01_ses-1", f"{SCAN_ID}_run-2"
    brain = template.brain.data + np.where(
        template.mask, np.random.default_rng(1).normal(0.3, 0.01, template.mask.shape), 0
    )
    t1w, second, t2w = (raw / f"{place}_{name}.nii.gz" for name in ("T1w", "run-2_T1w", "T2w"))
    labels = raw / "derivatives" / "segmentations" / f"{place}_dseg.nii.gz"
    for path, data in (
        (t1w, brain),
        (second, brain),
        (t2w, np.where(template.mask, 1.6 - brain, 0)),
        (labels, np.where(template.mask, 1 + template.tissues.argmax(axis=0), 0).astype(np.uint8)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(data, template.grid.affine), path)
    with_extra = ScanImages(t1w, {"T2w": t2w}, labels)
    registration = "deformable" if HAS_GREEDY else "affine"
    for images, name, kind in ((with_extra, SCAN_ID, "affine"), (ScanImages(second), run, registration)):
        settings = Settings(intensity="percentile", registration=kind, **SETTINGS)
        record = write_scan(preprocess_scan(images, template, settings), scan_folder(preproc, name), name)
        assert record.status == "ok", record.reason
    write_dataset_files(preproc, raw, has_labels=True)
    return folder


@pytest.fixture(scope="module")
def preproc(study) -> Path:
    return study / "results" / "ixi" / "preproc"


@pytest.fixture(scope="module")
def records(preproc) -> dict[str, dict]:
    return {record["scan_id"]: record for record in map(read_json, sorted(preproc.glob("**/*_qc.json")))}


def images(preproc: Path) -> list[Path]:
    return sorted(path for path in preproc.glob("**/*.nii.gz") if not path.name.endswith("_xfm.nii.gz"))


def test_the_official_validator_accepts_modalities_runs_labels_and_deformations(preproc, tmp_path):
    assert errors_of(preproc, tmp_path) == []


@pytest.mark.parametrize("damage", ["entities in another order", "sidecar without SkullStripped", "no .bidsignore"])
def test_the_validator_would_see_what_is_wrong(preproc, tmp_path, damage):
    copied = shutil.copytree(preproc, tmp_path / "preproc")
    image = next(copied.glob("**/*_desc-preproc_T1w.nii.gz"))
    if damage == "no .bidsignore":
        (copied / ".bidsignore").unlink()
    elif damage == "sidecar without SkullStripped":
        image.with_name(image.name.replace(".nii.gz", ".json")).unlink()
    else:
        image.rename(
            image.with_name(image.name.replace("_space-MNI152NLin2009aSym_desc-preproc", "_desc-preproc_space-x"))
        )
    assert errors_of(copied, tmp_path)


def test_nothing_that_bids_has_a_name_for_is_hidden_from_the_validator(preproc):
    ignored = (preproc / ".bidsignore").read_text().split()
    hidden = [path.name for path in preproc.glob("**/*.*") if any(fnmatch(path.name, pattern) for pattern in ignored)]
    assert hidden and all(name.endswith(("_xfm.txt", "_xfm.nii.gz", "_mosaic.webp", "_qc.json")) for name in hidden)


def test_two_runs_of_a_session_lie_in_one_folder_and_each_is_found_by_its_id(preproc, records):
    assert {path.parent.relative_to(preproc).as_posix() for path in images(preproc)} == {
        f"{next(iter(records)).replace('_', '/')}/anat"
    }
    for scan_id, record in records.items():
        assert read_json(qc_path(preproc, scan_id)) == record
        files = [scan_folder(preproc, scan_id) / entry["file"] for entry in record["outputs"].values()]
        assert all(path.is_file() and path.name.startswith(f"{scan_id}_") for path in files)
    listed = {entry["file"] for record in records.values() for entry in record["outputs"].values()}
    there = {path.name for path in preproc.glob("sub-*/**/*.*") if not path.name.endswith("_qc.json")}
    assert listed == there, "the records name every file"


def test_each_image_names_the_files_it_was_made_from_and_all_are_there(preproc):
    links = read_json(preproc / "dataset_description.json")["DatasetLinks"]
    found = images(preproc)
    assert {path.name.rpartition("_")[2] for path in found} == {f"{name}.nii.gz" for name in
            ("T1w", "T2w", "mask", "probseg", "dseg")}  # fmt: skip
    for image in found:
        sidecar = read_json(image.with_name(image.name.replace(".nii.gz", ".json")))
        assert sidecar["Description"] and sidecar["Sources"] and "RawSources" not in sidecar
        references = [sidecar["SpatialReference"]] if sidecar["SpatialReference"].startswith("bids:") else []
        assert references or "_space-" in image.name
        for uri in sidecar["Sources"] + references:
            _, dataset, path = uri.split(":")
            assert (preproc / links.get(dataset, "") / path).is_file(), (image.name, uri)
        if image.name.endswith("_mask.nii.gz"):
            assert sidecar["Type"] == "Brain"
        elif image.name.endswith("w.nii.gz"):
            assert sidecar["SkullStripped"] is True


def test_sources_of_an_extra_modality_and_of_labels_are_their_own_raw_images(preproc):
    def sources(ending: str) -> list[str]:
        (path,) = preproc.glob(f"**/*{ending}.json")
        return read_json(path)["Sources"]

    t2w, dseg = sources("_desc-preproc_T2w"), sources("_dseg")
    assert t2w[0].endswith("_T2w.nii.gz") and any("_from-T2w_to-T1w_" in uri for uri in t2w)
    assert dseg[0].startswith("bids:raw:derivatives/segmentations/sub-") and dseg[0].endswith("_dseg.nii.gz")


def test_tissue_maps_are_probabilities_on_the_scans_grid_with_the_volumes_of_the_record(preproc, records, study):
    for scan_id, record in records.items():
        folder = scan_folder(preproc, scan_id)
        mask = nib.load(folder / f"{scan_id}_desc-brain_mask.nii.gz")
        maps = {}
        for tissue in ("CSF", "GM", "WM"):
            image = nib.load(folder / f"{scan_id}_label-{tissue}_probseg.nii.gz")
            maps[tissue] = image.get_fdata()
            assert image.shape == mask.shape and np.array_equal(image.affine, mask.affine)
            ml = maps[tissue].sum() * abs(np.linalg.det(image.affine)) / 1000
            assert ml == pytest.approx(record["volumes_ml"][tissue.lower()], rel=0.005)
        total, inside = sum(maps.values()), np.asarray(mask.dataobj) > 0
        assert max(each.max() for each in maps.values()) == 1.0 and min(each.min() for each in maps.values()) == 0.0
        np.testing.assert_allclose(total[inside], 1, atol=0.012)
        assert not total[~inside].any()


def test_the_dataset_says_what_made_it_from_what_and_under_which_licence(preproc):
    description = read_json(preproc / "dataset_description.json")
    assert description["Name"].startswith("IXI") and description["License"] == "CC BY-SA 3.0"
    assert description["DatasetType"] == "derivative" and description["GeneratedBy"][0]["Name"] == "neurocohort"
    assert description["GeneratedBy"][0]["Version"]
    assert description["SourceDatasets"] == [{"URL": "https://brain-development.org/ixi-dataset/"}]
    assert not any(str(value).startswith("/") for value in description["DatasetLinks"].values()), (
        "the folder can be moved"
    )
    assert read_table(preproc / "dseg.tsv")["abbreviation"].tolist() == ["BG", "CSF", "GM", "WM"]
    assert "_dseg.nii.gz" in (preproc / "README.md").read_text()


def test_a_cohort_without_labels_has_no_table_of_their_names(preproc, study, tmp_path):
    copied = shutil.copytree(preproc, tmp_path / "preproc")
    write_dataset_files(copied, study / "data" / "ixi", has_labels=False)
    assert not (copied / "dseg.tsv").exists() and "_dseg.nii.gz" not in (copied / "README.md").read_text()


def test_a_cohort_of_ones_own_names_its_raw_folder_as_the_source(tmp_path):
    raw, preproc = tmp_path / "data" / "clinic", tmp_path / "results" / "clinic" / "preproc"
    raw.mkdir(parents=True)
    (raw / "dataset_description.json").write_text('{"Name": "Clinic", "BIDSVersion": "1.10.0"}')
    write_dataset_files(preproc, raw, has_labels=False)
    assert read_json(preproc / "dataset_description.json")["SourceDatasets"] == [{"URL": "../../../data/clinic"}]


def test_a_raw_dataset_without_a_description_is_named(tmp_path):
    with pytest.raises(InputError, match=r"dataset_description\.json is not there"):
        write_dataset_files(tmp_path / "preproc", tmp_path, has_labels=False)


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("data/ixi/sub-1/ses-1/anat/sub-1_ses-1_T1w.nii.gz", "bids:raw:sub-1/ses-1/anat/sub-1_ses-1_T1w.nii.gz"),
        ("/big/sub-projects/data/ixi/sub-1/anat/sub-1_T1w.nii.gz", "bids:raw:sub-1/anat/sub-1_T1w.nii.gz"),
        (
            "data/oasis1/derivatives/oasis-fslseg/sub-1/ses-1/anat/sub-1_ses-1_space-T88_dseg.nii.gz",
            "bids:raw:derivatives/oasis-fslseg/sub-1/ses-1/anat/sub-1_ses-1_space-T88_dseg.nii.gz",
        ),
    ],
)
def test_uri_of_a_raw_image_starts_at_its_dataset(path, uri):
    assert raw_uri(Path(path)) == uri


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://user:token@example.org/group/name.git", "https://example.org/group/name"),
        ("git@example.org:group/name.git", "https://example.org/group/name"),
        ("ssh://git@example.org/group/name", "https://example.org/group/name"),
        ("/home/me/name", None),
        ("file:///home/me/name", None),
    ],
)
def test_code_address_is_public_and_holds_no_password(remote, address):
    assert public_address(remote) == address
