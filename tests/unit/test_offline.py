"""The folder for a machine without a network is complete, has the hashes of its files, and installs itself."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from neurocohort.errors import InputError
from neurocohort.files import read_json
from neurocohort.handover import offline
from neurocohort.handover.offline import Needed, bundle_offline, files_of
from neurocohort.sources.sources import SourceFile

CONTENT = b"weights"
WEIGHTS = SourceFile(
    "weights", "net.pt", ("https://nowhere.invalid/net.pt",), sha256=hashlib.sha256(CONTENT).hexdigest()
)


@pytest.fixture
def no_pip(monkeypatch):
    """Wheels are empty files of one package instead of pip's."""
    asked = []

    def write(folder, requirements, extra_index):
        asked.append((requirements, extra_index))
        folder.mkdir(exist_ok=True)
        (folder / "tiny-1-py3-none-any.whl").write_bytes(b"wheel")

    monkeypatch.setattr(offline, "_write_wheels", write)
    return asked


def check(folder):
    return subprocess.run(
        ["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_folder_has_everything_with_its_hashes(no_pip, tmp_path):
    resources = tmp_path / "resources" / "net"
    resources.mkdir(parents=True)
    (resources / "net.pt").write_bytes(CONTENT)
    folder = tmp_path / "usb"
    bundle_offline(folder, [Needed("net/net.pt", WEIGHTS)], extra_index="https://x", resources=resources.parent)
    files = set(read_json(folder / "manifest.json")["files"])
    of_weights = {"resources/net/net.pt", "resources/net/checksums.tsv"}
    assert files == {"install.sh", "neurocohort.tar.gz", "wheels/tiny-1-py3-none-any.whl", *of_weights}
    assert no_pip == [(offline.REQUIREMENTS, "https://x")]
    assert check(folder).returncode == 0
    (folder / "resources/net/net.pt").write_bytes(b"other")
    assert "net.pt: FAILED" in check(folder).stdout
    listed = subprocess.run(
        ["tar", "-tzf", folder / "neurocohort.tar.gz"], capture_output=True, text=True, check=True
    ).stdout
    assert {"neurocohort/Snakefile", "neurocohort/envs/requirements.txt"} <= set(listed.splitlines())


def test_interrupted_folder_has_no_list_of_hashes(no_pip, tmp_path):
    folder = tmp_path / "usb"
    bundle_offline(folder, [])
    with pytest.raises(InputError, match=r"net\.pt is neither"):
        bundle_offline(folder, [Needed("net/net.pt", WEIGHTS, str(tmp_path / "empty"))], resources=tmp_path)
    assert not (folder / "SHA256SUMS").exists()


def test_installer_refuses_another_python_and_a_changed_file(no_pip, tmp_path):
    folder, target = tmp_path / "usb", tmp_path / "here"
    bundle_offline(folder, [])

    def install():
        return subprocess.run(
            ["sh", folder / "install.sh", target, sys.executable], capture_output=True, text=True, check=False
        )

    (folder / "wheels" / "tiny-1-py3-none-any.whl").write_bytes(b"changed")
    done = install()
    assert done.returncode != 0 and "tiny-1-py3-none-any.whl: FAILED" in done.stdout and not target.exists()
    script = (folder / "install.sh").read_text()
    (folder / "install.sh").write_text(script.replace("wanted=3.", "wanted=4."))
    done = install()
    assert done.returncode == 2 and "the packages are for Python 4." in done.stderr and not target.exists()


def test_pip_makes_wheels_and_its_error_is_shown(tmp_path):
    package = tmp_path / "tiny"
    package.mkdir()
    (package / "pyproject.toml").write_text('[project]\nname = "tiny"\nversion = "1"\n[build-system]\nrequires = []\n'
                                            'build-backend = "build"\nbackend-path = ["."]\n')  # fmt: skip
    (package / "build.py").write_text(
        "import zipfile\n"
        "def build_wheel(folder, *_):\n"
        "    with zipfile.ZipFile(f'{folder}/tiny-1-py3-none-any.whl', 'w') as wheel:\n"
        "        wheel.writestr('tiny-1.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: tiny\\nVersion: 1\\n')\n"
        "        wheel.writestr('tiny-1.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n"
        "        wheel.writestr('tiny-1.dist-info/RECORD', '')\n"
        "    return 'tiny-1-py3-none-any.whl'\n"
    )
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"tiny @ {package.as_uri()}\n")
    offline._write_wheels(tmp_path / "wheels", requirements, "", tools=())
    assert [path.name for path in (tmp_path / "wheels").iterdir()] == ["tiny-1-py3-none-any.whl"]
    requirements.write_text(f"gone @ {(tmp_path / 'gone').as_uri()}\n")
    with pytest.raises(InputError, match="pip says") as error:
        offline._write_wheels(tmp_path / "wheels", requirements, "", tools=())
    assert "gone" in str(error.value)


def study(**changes):
    config = {
        "preprocessing": {"brain_extraction": "deepbet", "weights_url": ""},
        "experiments": {"age": {"transfer": None}},
        "cohorts": {
            "ixi": {"source": "ixi", "modalities": ["T1w", "T2w"], "base_url": None},
            "own": {"source": "bids", "path": "/data/own"},
        },
    }
    return config | changes


def test_study_needs_its_weights_and_with_sources_its_archives():
    assert list(files_of(study(), sources=False)) == []
    with_weights = study(
        preprocessing={"brain_extraction": "synthstrip", "weights_url": ""},
        experiments={"age": {"transfer": {"weights": "sfcn_ukb", "weights_url": None}}},
    )
    assert [one.place.split("/")[0] for one in files_of(with_weights, sources=False)] == ["synthstrip", "sfcn_ukb"]
    places = [one.place for one in files_of(study(), sources=True)]
    assert places == ["ixi/IXI-T1.tar", "ixi/IXI-T2.tar", "ixi/IXI.xls"]


def test_code_outside_of_a_repository_is_refused(no_pip, tmp_path, monkeypatch):
    monkeypatch.setattr(offline, "CHECKOUT", Path(tmp_path))
    with pytest.raises(InputError, match="in a clone of the repository"):
        bundle_offline(tmp_path / "usb", [])
