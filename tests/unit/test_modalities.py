"""T2- and PD-weighted images of a session: found, brought onto the T1-weighted one, or a reason why not."""

import json

import nibabel as nib
import numpy as np
import pytest
from neurocohort.errors import InputError, ScanExcluded
from neurocohort.files import read_table
from neurocohort.imaging.reading import read_scan
from neurocohort.imaging.rigid import register_rigid
from neurocohort.imaging.volume import Volume, sample, world_grid
from neurocohort.sources.ixi import ingest_ixi
from neurocohort.synthetic.archives import write_ixi_archives

MODALITIES = ("T1w", "T2w", "PDw")


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ixi")
    write_ixi_archives(folder, participants=4, seed=5, spacing_mm=3.0, modalities=MODALITIES)
    return folder


@pytest.fixture(scope="module")
def cohort(archives):
    """The folder that ingest leaves, and what it returned."""
    names = [archives / f"IXI-{short}.tar" for short in ("T1", "T2", "PD")]
    return archives / "data", ingest_ixi(names, archives / "IXI.xls", archives / "data", modalities=MODALITIES)


def test_the_images_of_a_session_stand_in_one_row(cohort):
    folder, _ = cohort
    scans = read_table(folder / "scans.tsv")
    for modality in MODALITIES[1:]:
        assert scans[f"path_{modality}"].str.endswith(f"_{modality}.nii.gz").all()
        assert all((folder / path).is_file() for path in scans[f"path_{modality}"])
    assert "path_FLAIR" not in scans and "path_T2w" in json.loads((folder / "participants.json").read_text())


def test_a_session_without_a_modality_is_excluded_and_its_images_are_gone(cohort):
    folder, _ = cohort
    exclusions = read_table(folder / "exclusions.tsv")
    (row,) = exclusions[exclusions["reason"].str.startswith("T2: ")].to_dict("records")
    assert not list(folder.glob(f"{row['participant_id']}/**/*.nii.gz"))


def test_t1_alone_is_what_it_was_without_the_others(cohort, archives, tmp_path):
    ingest_ixi([archives / "IXI-T1.tar"], archives / "IXI.xls", tmp_path)
    alone = read_table(tmp_path / "scans.tsv")
    both = read_table(cohort[0] / "scans.tsv")
    assert "path_T2w" not in alone and set(both["image_sha256"]) < set(alone["image_sha256"])


def test_a_missing_archive_is_told_by_its_name(archives, tmp_path):
    with pytest.raises(InputError, match=r"IXI-T2\.tar is expected"):
        ingest_ixi([archives / "IXI-T1.tar"], archives / "IXI.xls", tmp_path, modalities=("T1w", "T2w"))


@pytest.mark.parametrize("modality", MODALITIES[1:])
def test_the_motion_between_two_sequences_is_found_to_half_a_voxel(cohort, archives, modality):
    folder, _ = cohort
    scan = read_table(folder / "scans.tsv").iloc[0]
    t1, other = read_scan(folder / scan["path"]), read_scan(folder / scan[f"path_{modality}"])
    truth = nib.load(archives / "truth" / f"{scan['participant_id'][4:]}_dseg.nii.gz")
    mask = np.asarray(truth.dataobj) > 0
    grid = world_grid(t1, mask, 3.0)
    fixed_mask = sample(Volume(mask, t1.affine), grid, smooth=True).data > 0.5
    found = register_rigid(sample(t1, grid, smooth=True), fixed_mask, other, modality, seed=1)
    motions = json.loads((archives / "truth" / f"{modality}_to_T1w.json").read_text())
    expected = np.linalg.inv(np.array(motions[scan["participant_id"][4:]]))
    points = nib.affines.apply_affine(grid.affine, np.argwhere(fixed_mask)[::50])
    moved = [nib.affines.apply_affine(matrix, points) for matrix in (found, expected, np.eye(4))]
    assert np.linalg.norm(moved[0] - moved[1], axis=1).mean() < 1.5
    assert np.linalg.norm(moved[2] - moved[1], axis=1).mean() > 1.6, "there was something to find"


def test_an_image_whose_origin_was_set_elsewhere_is_still_found(cohort):
    """Its own world has nothing in common with the other image's: the first starts can't even begin."""
    folder, _ = cohort
    scan = read_table(folder / "scans.tsv").iloc[0]
    t1, other = read_scan(folder / scan["path"]), read_scan(folder / scan["path_T2w"])
    away = np.eye(4)
    away[:3, 3] = [900.0, -700.0, 800.0]
    mask = t1.data > np.percentile(t1.data, 80)
    grid = world_grid(t1, mask, 3.0)
    fixed_mask = sample(Volume(mask, t1.affine), grid, smooth=True).data > 0.5
    fixed = sample(t1, grid, smooth=True)
    here = register_rigid(fixed, fixed_mask, other, "T2w", seed=1)
    there = register_rigid(fixed, fixed_mask, Volume(other.data, away @ other.affine), "T2w", seed=1)
    points = nib.affines.apply_affine(grid.affine, np.argwhere(fixed_mask)[::50])
    moved = [nib.affines.apply_affine(matrix, points) for matrix in (away @ here, there)]
    assert np.linalg.norm(moved[0] - moved[1], axis=1).mean() < 2


def test_an_image_of_nothing_is_told_and_not_placed_anywhere(cohort):
    folder, _ = cohort
    t1 = read_scan(folder / read_table(folder / "scans.tsv").iloc[0]["path"])
    noise = Volume(np.random.default_rng(0).random((60, 60, 50), dtype=np.float32), np.diag([3.0, 3.0, 3.0, 1.0]))
    mask = t1.data > np.percentile(t1.data, 80)
    grid = world_grid(t1, mask, 3.0)
    fixed_mask = sample(Volume(mask, t1.affine), grid, smooth=True).data > 0.5
    with pytest.raises(ScanExcluded, match="starts ended"):
        register_rigid(sample(t1, grid, smooth=True), fixed_mask, noise, "T2w", seed=1)
