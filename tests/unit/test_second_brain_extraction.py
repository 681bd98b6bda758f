"""SynthStrip, the second brain extraction. Its published weights can't be had without a network, so these tests run the same
path with random ones: that the published ones find brains, they don't show."""

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from neurocohort.errors import InputError, ScanExcluded
from neurocohort.files import sha256_of
from neurocohort.imaging import synthstrip
from neurocohort.imaging.synthstrip import extract_brain_synthstrip
from neurocohort.imaging.volume import Volume
from neurocohort.sources.download import download
from neurocohort.sources.sources import SourceFile, read_source, source_table
from scipy import ndimage
from servers import FileServer

OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.2, -0.1, 0.3) @ np.array([[0, 0, 2.2], [-2.0, 0, 0], [0, -2.4, 0]]), [-60, 80, 70]
)


def head(affine, shape=(64, 60, 56)):
    """An ellipsoid with a dark hole, and a bright speck apart from it: the scan, and the ellipsoid as a mask."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    radius = np.linalg.norm((index - np.array(shape) / 2) / (np.array(shape) * [0.3, 0.35, 0.25]), axis=-1)
    brain = radius < 1
    data = np.where(brain, 800.0, 40.0) + np.random.default_rng(0).normal(0, 10, shape)
    data[tuple(slice(n // 2 - 3, n // 2 + 3) for n in shape)] = 40
    data[2:7, 2:7, 2:7] = 800
    return Volume(data.astype(np.float32), affine), brain


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Random weights in the published file's form, its optimiser's state included, whose mask is neither empty nor full."""
    from nipreps.synthstrip.model import StripModel

    torch.manual_seed(3)
    torch.set_num_threads(1)
    network = StripModel()
    with torch.inference_mode():
        for name, parameter in network.named_parameters():
            if name.endswith("weight"):
                torch.nn.init.kaiming_normal_(parameter, a=0.2)
        scan, _ = head(np.eye(4), (64, 64, 64))
        distance = network(torch.from_numpy(scan.data / 800)[None, None])
        last = network.remaining[-1].conv
        scale = 20 / distance.std()
        last.weight.mul_(scale)
        last.bias.copy_(last.bias * scale + 1 - scale * distance.median())
    optimizer = torch.optim.Adam(network.parameters())
    path = tmp_path_factory.mktemp("published") / "synthstrip.1.pt"
    states = {"model_state_dict": network.state_dict(), "optimizer_state_dict": optimizer.state_dict()}
    torch.save(states, path)
    return path


@pytest.mark.slow
def test_the_downloaded_weights_give_the_mask_of_the_package_itself(checkpoint, tmp_path):
    weights = tmp_path / "resources" / "synthstrip.1.pt"
    with FileServer(checkpoint.parent) as server:
        published = {"size_bytes": checkpoint.stat().st_size, "sha256": sha256_of(checkpoint)}
        address = server.url("synthstrip.1.pt")
        download(SourceFile("weights", "synthstrip.1.pt", (address,), **published), weights)
    scan, _ = head(OBLIQUE)
    mask = extract_brain_synthstrip(scan, weights)

    nib.save(nib.Nifti1Image(scan.data, scan.affine), tmp_path / "scan.nii.gz")
    command = [sys.executable, "-W", "ignore", "-m", "nipreps.synthstrip", "--model", weights, "-n", "1"]
    subprocess.run([*command, "-i", tmp_path / "scan.nii.gz", "-m", tmp_path / "mask.nii.gz"], check=True, timeout=500)
    expected = np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj) > 0
    assert 0.02 < expected.mean() < 0.98  # otherwise any two would agree
    assert (mask == expected).all()


@pytest.mark.parametrize("affine", [OBLIQUE, np.diag([2.0, 2.0, 2.0, 1.0]), np.diag([-2.0, 2.0, -3.0, 1.0])])
def test_mask_lies_on_the_brain_in_any_orientation_as_one_piece_without_holes(monkeypatch, affine):
    # In the network's place, a distance that can be read off the image.
    monkeypatch.setattr(synthstrip, "_load_network", lambda *_: None)
    monkeypatch.setattr(synthstrip, "_distance", lambda _, image: torch.where(image > 0.5, -20.0, 20.0))
    scan, brain = head(affine)
    mask = extract_brain_synthstrip(scan, Path("weights.pt"))
    assert mask.dtype == bool and mask.shape == scan.data.shape
    assert 2 * (mask & brain).sum() / (mask.sum() + brain.sum()) > 0.97
    assert ndimage.label(mask)[1] == 1
    assert ndimage.label(~mask)[1] == 1


def test_scan_without_a_brain_is_excluded(monkeypatch):
    monkeypatch.setattr(synthstrip, "_load_network", lambda *_: None)
    monkeypatch.setattr(synthstrip, "_distance", lambda _, image: torch.full_like(image, 50.0))
    with pytest.raises(ScanExcluded, match="brain_extraction: SynthStrip found no brain"):
        extract_brain_synthstrip(head(OBLIQUE)[0], Path("weights.pt"))
    almost_empty = Volume(np.zeros((64, 64, 64), dtype=np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    almost_empty.data[30:34, 30:34, 30:34] = 100
    with pytest.raises(ScanExcluded, match="brain_extraction: SynthStrip found no brain"):
        extract_brain_synthstrip(almost_empty, Path("weights.pt"))


class RunsCode:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_weights_that_would_run_code_are_refused_and_run_none(tmp_path):
    torch.save({"model_state_dict": RunsCode(tmp_path / "ran")}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"weights\.pt can't be loaded as SynthStrip's weights"):
        extract_brain_synthstrip(head(OBLIQUE)[0], tmp_path / "weights.pt")
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "weights.pt", weights_only=False)
    assert (tmp_path / "ran").exists()  # it would have


def test_weights_that_are_cut_of_another_network_or_absent_are_named(checkpoint, tmp_path):
    scan = head(OBLIQUE)[0]
    cut = tmp_path / "cut.pt"
    cut.write_bytes(checkpoint.read_bytes()[:100_000])
    with pytest.raises(InputError, match=r"cut\.pt can't be loaded as SynthStrip's weights .* fetch it again"):
        extract_brain_synthstrip(scan, cut)
    other = tmp_path / "other.pt"
    torch.save({"model_state_dict": torch.nn.Linear(2, 2).state_dict()}, other)
    with pytest.raises(InputError, match=r"other\.pt can't be loaded as SynthStrip's weights"):
        extract_brain_synthstrip(scan, other)
    other.write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match=r"other\.pt can't be loaded as SynthStrip's weights"):
        extract_brain_synthstrip(scan, other)
    with pytest.raises(InputError, match=r"absent\.pt, are not there"):
        extract_brain_synthstrip(scan, tmp_path / "absent.pt")


def test_the_published_weights_are_held_to_their_checksum_and_length(repository):
    file = read_source(source_table("synthstrip")).files["weights"]
    # FreeSurfer's repository names the file by its length and sha256.
    assert f"/SHA256E-s{file.size_bytes}--{file.sha256}.1.pt" in file.urls[-1]
