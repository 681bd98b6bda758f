"""Files that can't be written: one sentence with the path, what was there is kept, and what killed writers left is removed."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from neurocohort import files
from neurocohort.errors import STORAGE_REASONS, StorageFailed
from neurocohort.files import folder_written_aside, write_text, written_aside
from neurocohort.imaging import registration

FULL = "/dev/full"  # writes to it fail as on a full disk
HERE = os.uname().nodename


@pytest.fixture(autouse=True)
def a_new_process(monkeypatch):
    """No folder has been looked through yet."""
    monkeypatch.setattr(files, "_CLEARED", set())


@pytest.mark.parametrize("number", STORAGE_REASONS)
def test_an_error_of_the_disk_names_the_file_that_was_to_be_written(tmp_path, number):
    write_text(tmp_path / "table.tsv", "before")
    refused = pytest.raises(StorageFailed, match=r"table\.tsv could not be written: ")
    with refused as raised, written_aside(tmp_path / "table.tsv"):
        raise OSError(number, os.strerror(number))
    assert STORAGE_REASONS[number] in str(raised.value)
    assert (tmp_path / "table.tsv").read_text() == "before"
    assert os.listdir(tmp_path) == ["table.tsv"]


@pytest.mark.parametrize(
    "error",
    [
        OSError("123 requested and 0 written"),  # numpy's tofile
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
    ],
)
def test_libraries_that_dont_name_a_full_disk_are_understood(tmp_path, monkeypatch, error):
    def write():
        with written_aside(tmp_path / "model.safetensors"):
            raise error

    with pytest.raises(type(error)):
        write()  # there is room: something else is wrong
    monkeypatch.setattr(files, "_is_full", lambda folder: True)
    with pytest.raises(StorageFailed, match="the disk is full"):
        write()


def test_an_input_without_permission_is_no_failure_to_write(tmp_path):
    with pytest.raises(PermissionError), written_aside(tmp_path / "out" / "table.tsv"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/elsewhere/scan.nii.gz")


def test_a_folder_is_replaced_whole_or_kept(tmp_path):
    report = tmp_path / "report"
    with folder_written_aside(report) as aside:
        (aside / "index.html").write_text("first")
    with pytest.raises(StorageFailed, match="report could not be written"), folder_written_aside(report) as aside:
        write_text(aside / "index.html", "second")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (report / "index.html").read_text() == "first" and os.listdir(tmp_path) == ["report"]


def test_what_killed_writers_left_is_removed_and_a_living_ones_file_stays(tmp_path):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    (tmp_path / f".{HERE}.{ended.stdout.strip()}.report").mkdir()
    for name in ("qc.tsv", "other.tsv"):
        (tmp_path / f".{HERE}.{ended.stdout.strip()}.{name}").touch()
    living = tmp_path / f".{HERE}.{os.getppid()}.qc.tsv"
    elsewhere = tmp_path / ".node7.example.org.1234.qc.tsv"
    old = tmp_path / ".node8.1234.qc.tsv"
    for path in (living, elsewhere, old):
        path.touch()
    os.utime(old, (0, 0))
    write_text(tmp_path / "qc.tsv", "made")
    assert sorted(os.listdir(tmp_path)) == sorted([living.name, elsewhere.name, "qc.tsv"])


def test_a_killed_report_leaves_nothing_once_it_is_made_again(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from neurocohort.files import folder_written_aside\n"
        "with folder_written_aside(Path(sys.argv[1])) as aside:\n"
        "    (aside / 'index.html').touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "report")], check=False)
    assert len(os.listdir(tmp_path)) == 1, "of the last one, which nobody has followed yet"
    with folder_written_aside(tmp_path / "report") as aside:
        (aside / "index.html").touch()
    assert os.listdir(tmp_path) == ["report"]


def test_a_transform_that_simpleitk_couldnt_write_is_no_success(tmp_path, monkeypatch):
    """On a full disk SimpleITK reports no error, and leaves an empty file."""
    path = tmp_path / "affine.txt"
    monkeypatch.setattr(registration.sitk, "WriteTransform", lambda transform, name: Path(name).touch())
    with pytest.raises(RuntimeError), written_aside(path) as aside:
        registration.write_itk_affine(aside, np.eye(4))
    assert os.listdir(tmp_path) == []


def test_a_command_that_cant_write_says_so_in_one_sentence_where_snakemake_runs(tmp_path):
    """Its log is on the same disk: the sentence goes to the descriptor that rules keep open as well."""
    shown = tmp_path / "shown"
    arguments = ["template", "--output", "/sys/template.npz", "--spacing-mm", "6", "--shape", "32", "40", "32"]
    with open(shown, "wb") as stream, open(FULL, "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "neurocohort", *arguments],
            env=os.environ | {"NEUROCOHORT_MESSAGES": str(stream.fileno())},
            pass_fds=[stream.fileno()],
            stderr=full,
            stdout=full,
            check=False,
        )
    assert done.returncode == 1
    assert shown.read_text().count("\n") == 1 and "could not be written" in shown.read_text()
