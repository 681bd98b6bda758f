"""`neurocohort serve` without a browser: names, ages and headers of uploads, and starts that fail with a sentence."""

import importlib.util
import socket

import nibabel as nib
import numpy as np
import pytest
from neurocohort.errors import InputError
from neurocohort.serving import packages, server
from neurocohort.serving.packages import REQUIREMENTS, check_packages
from neurocohort.serving.uploads import Refused, check_declared_size, check_image, known_age, safe_name


def test_names_of_uploads_lead_nowhere_else():
    assert safe_name("../../etc/my scan.nii.gz") == "my-scan.nii.gz"
    assert safe_name("..\\a<b>.NII") == "a-b.nii"
    assert safe_name(".nii") == "scan.nii"
    with pytest.raises(Refused, match=r"'scan\.dcm'; expected a name ending in \.nii or \.nii\.gz"):
        safe_name("scan.dcm")


def test_age_is_empty_or_years():
    assert (known_age(" "), known_age("61.5")) == (None, 61.5)
    for text in ("old", "-1", "131", "nan", "inf"):
        with pytest.raises(Refused, match="expected years from 0 to 130"):
            known_age(text)


def test_sizes_are_checked_before_anything_is_read(tmp_path):
    check_declared_size({"content-length": "60000000"}, 60)
    with pytest.raises(Refused, match="The file has 61 MB; the limit is 60 MB"):
        check_declared_size({"content-length": "61000000"}, 60)
    nib.save(nib.Nifti1Image(np.zeros((100, 100, 100), np.float32), np.eye(4)), tmp_path / "zeros.nii.gz")
    check_image(tmp_path / "zeros.nii.gz", 4)
    with pytest.raises(Refused, match="4 MB of voxels when unpacked; the limit is 3 MB"):
        check_image(tmp_path / "zeros.nii.gz", 3)


def test_without_the_packages_a_sentence_says_what_to_install(monkeypatch, repository):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        packages.importlib.util, "find_spec", lambda name: None if name in REQUIREMENTS else found(name)
    )
    with pytest.raises(InputError, match=r"run `pip install starlette==1\.10\.0 uvicorn==0\.54\.0`"):
        check_packages()
    assert (repository / "envs/serve.in").read_text().split("\n")[1:-1] == list(REQUIREMENTS.values())


def test_used_port_and_addresses_of_other_machines():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            pytest.raises(InputError, match=f"the port {port} of 127.0.0.1 is used"),
            server._listening("127.0.0.1", port),
        ):
            pass
    local = [server.is_local(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "192.168.1.2", "server")]  # noqa: S104
    assert local == [True] * 3 + [False] * 3


def test_folders_of_killed_servers_are_deleted_and_those_of_running_ones_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(server.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(server.tempfile, "tempdir", str(tmp_path))
    killed = tmp_path / "neurocohort-serve-killed"
    killed.mkdir()
    for name in ("lock", "scan.nii"):
        (killed / name).touch()
    with server._private_folder() as first:
        assert not killed.exists() and first.stat().st_mode & 0o077 == 0
        with server._private_folder() as second:
            assert first.exists() and second.exists()
    assert list(tmp_path.iterdir()) == []
