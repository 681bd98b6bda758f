"""deepbet's networks as the workflow computes them give the masks of deepbet's own program."""

import nibabel as nib
import numpy as np
import pytest
import torch
from neurocohort.errors import ScanExcluded
from neurocohort.imaging import deepbet_network
from neurocohort.imaging.brain_extraction import NETWORK_GRID, extract_brain, one_component
from neurocohort.imaging.overlap import dice
from neurocohort.imaging.reading import read_scan
from neurocohort.imaging.volume import Volume
from scipy import ndimage


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def scan(shared_data):
    return read_scan(shared_data / "ixi_hh_2mm" / "IXI132-HH-1415_T1_2mm.nii.gz")


def test_mask_is_that_of_deepbets_own_program(scan):
    from deepbet.bet import BrainExtraction

    canonical = nib.as_closest_canonical(nib.Nifti1Image(scan.data, scan.affine))
    theirs = BrainExtraction(no_gpu=True).run_model(np.array(canonical.dataobj), shape=NETWORK_GRID) > 0.5
    ours = nib.as_closest_canonical(nib.Nifti1Image(extract_brain(scan).astype(np.uint8), scan.affine))
    assert dice(np.asarray(ours.dataobj) > 0, one_component(theirs)) > 0.999


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_mask_of_a_gpu_is_that_of_the_cpu(scan):
    assert dice(extract_brain(scan, device="cuda"), extract_brain(scan)) > 0.999  # their sums differ in the last bits


def test_second_scan_of_a_process_loads_no_network_again_and_gives_the_same_mask(scan, monkeypatch):
    first = extract_brain(scan)
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("the networks were loaded again"))
    assert np.array_equal(extract_brain(scan), first)


def test_scan_without_a_brain_is_excluded_with_the_reason(monkeypatch):
    speck = np.zeros((40, 40, 40), dtype=np.float32)
    speck[20, 20, 20] = 1
    with pytest.raises(ScanExcluded, match="deepbet found no brain"):
        extract_brain(Volume(speck, np.diag([5.0, 5.0, 5.0, 1.0])))
    found = np.zeros(deepbet_network.BOX_GRID, dtype=bool)
    monkeypatch.setattr(deepbet_network, "_positive", lambda *_: found)
    noise = np.random.default_rng(0).normal(100, 5, (40, 40, 40)).astype(np.float32)
    for part in ((slice(0, 0),), (slice(5, 6),) * 3):  # nothing, and too little to fill a fiftieth of any plane
        found[part] = True
        with pytest.raises(ScanExcluded, match="deepbet found no brain"):
            extract_brain(Volume(noise, np.diag([5.0, 5.0, 5.0, 1.0])))


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: device-side assert triggered"), MemoryError()])
def test_fault_of_the_machine_excludes_no_scan(scan, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(deepbet_network, "_positive", fail)
    with pytest.raises(type(error)):
        extract_brain(scan)


@pytest.mark.parametrize("seed", range(5))
def test_one_component_is_the_largest_with_its_holes_filled(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((30, 28, 26), dtype=bool)
    mask[4:27, 0:25, 3:20] = ndimage.gaussian_filter(rng.normal(size=(23, 25, 17)), 1.2) > 0
    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())[1:]
    expected = ndimage.binary_fill_holes(labels == 1 + int(np.argmax(sizes)))
    assert count > 1 and np.array_equal(one_component(mask), expected)
