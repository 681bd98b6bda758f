"""Batches of scans: who is in which, what is computed again, and what a kill, a greedy or an endless scan costs."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from neurocohort.errors import InputError, JobFailed
from neurocohort.files import read_json, read_table
from neurocohort.imaging import batch as batches
from neurocohort.imaging.batch import Batch, Machine, preprocess_batch
from neurocohort.imaging.derivatives import qc_path
from neurocohort.imaging.records import current_record, write_exclusion
from neurocohort.imaging.template import make_template
from neurocohort.sources.ixi import ingest_ixi
from neurocohort.sources.scan_batches import batch_count, batch_hash, batch_of, read_batches, write_batches
from neurocohort.synthetic.archives import write_ixi_archives
from neurocohort.workers import Limits

SETTINGS = {
    "space": "template",
    "intensity": "percentile",
    "seed": 1,
    "brain_extraction": "deepbet",
    "affine": "simpleitk",
    "registration": "affine",
    "learned": {"steps": 0, "learning_rate": 0.001, "seed": 1, "refinement_steps": 0},
    "tissue_maps": False,
    "modulated_gm": False,
    "device": "cpu",
    "skull_stripped": False,
    "mni_space": False,
}
MACHINE = Machine(memory_mb=3000)
NAMES = [f"sub-{number:05d}_ses-1" for number in range(2000)]


def dealt(names, size=20):
    count = batch_count(len(names), size)
    return {name: batch_of(name, count) for name in names}


def test_one_more_scan_changes_one_batch():
    before, after = dealt(NAMES[:600]), dealt(NAMES[:601])
    assert {name: after[name] for name in before} == before and len(set(before.values())) == 32


def test_batches_are_about_as_large_as_asked_for_and_small_cohorts_have_several():
    sizes = np.unique(list(dealt(NAMES).values()), return_counts=True)[1]
    assert 10 <= sizes.mean() <= 20 and sizes.max() < 40
    assert [batch_count(scans, 20) for scans in (0, 1, 7, 8, 16, 48, 80, 81)] == [1, 1, 1, 2, 4, 4, 4, 8]


def test_a_cohort_that_outgrows_its_batches_divides_each_in_two():
    before, after = dealt(NAMES[:640]), dealt(NAMES[:641])
    assert len(set(after.values())) == 2 * len(set(before.values()))
    together = {}
    for name, batch in before.items():
        together.setdefault(after[name], set()).add(batch)
    assert all(len(origins) == 1 for origins in together.values())


def test_the_hash_of_a_batch_changes_with_a_scan_and_with_an_image_and_not_with_another_batch(tmp_path):
    contents = {name: name for name in NAMES[:100]}
    table = tmp_path / "batches.tsv"

    def hashes():
        write_batches(table, contents, 20)
        return {name: batch_hash(scans) for name, scans in read_batches(table).items()}

    before = hashes()
    contents[NAMES[7]] = "another image"
    assert {name for name, value in hashes().items() if before[name] != value} == {dealt(NAMES[:100])[NAMES[7]]}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A synthetic IXI of coarse voxels, in one batch, and its template."""
    folder = tmp_path_factory.mktemp("cohort")
    write_ixi_archives(folder / "made", participants=8, seed=3, spacing_mm=4.0)
    done = ingest_ixi([folder / "made/IXI-T1.tar"], folder / "made/IXI.xls", folder / "data")
    contents = dict(sorted(done.contents.items())[:4])
    write_batches(folder / "data" / "batches.tsv", contents, 1000)
    make_template(folder / "template.npz", 4.0, (40, 48, 40))
    return folder


def batch_in(cohort: Path, folder: Path, **changes) -> Batch:
    data = folder / "data"
    if not data.exists():
        shutil.copytree(cohort / "data", data)
    given = Batch(
        data,
        "000",
        folder / "preproc",
        folder / "preproc_batches" / "000.tsv",
        cohort / "template.npz",
        None,
        SETTINGS,
        "code",
    )
    return replace(given, **changes)


def hashes(folder: Path) -> dict[str, str]:
    """The sha256 of every file below the two folders that a batch writes, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for place in ("preproc", "preproc_batches")
        for path in (folder / place).rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def undisturbed(cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    preprocess_batch(batch_in(cohort, folder), MACHINE)
    return folder


def computed(printed: str) -> list[str]:
    return [line.split(":")[0] for line in printed.splitlines() if line.startswith("sub-")]


def copied(undisturbed: Path, folder: Path) -> Path:
    shutil.copytree(undisturbed, folder, dirs_exist_ok=True)
    return folder


def test_a_batch_whose_records_are_current_computes_nothing(cohort, undisturbed, tmp_path, capfd):
    folder = copied(undisturbed, tmp_path)
    preprocess_batch(batch_in(cohort, folder), MACHINE)
    assert computed(capfd.readouterr().out) == [] and hashes(folder) == hashes(undisturbed)
    table = read_table(folder / "preproc_batches" / "000.tsv")
    assert table["scan_id"].is_monotonic_increasing and set(table["status"]) == {"ok"}


def test_a_deleted_or_changed_file_costs_its_scan_alone(cohort, undisturbed, tmp_path, capfd):
    folder = copied(undisturbed, tmp_path)
    scan_id = sorted(read_batches(folder / "data/batches.tsv")["000"])[1]
    next((folder / "preproc").rglob(f"{scan_id}_*brain_mask.nii.gz")).write_bytes(b"damaged")
    preprocess_batch(batch_in(cohort, folder), MACHINE)
    assert computed(capfd.readouterr().out) == [scan_id] and hashes(folder) == hashes(undisturbed)


@pytest.mark.slow
def test_other_code_and_other_settings_compute_all_again(cohort, undisturbed, tmp_path, capfd):
    folder = copied(undisturbed, tmp_path)
    preprocess_batch(batch_in(cohort, folder, code="another"), Machine(6000, workers=2))
    assert len(computed(capfd.readouterr().out)) == 4
    images = {name: value for name, value in hashes(folder).items() if name.endswith((".nii.gz", ".txt", ".webp"))}
    assert images.items() <= hashes(undisturbed).items() and images, "two at a time give the bits of one alone"


def test_a_scan_that_is_added_is_computed_and_one_that_left_is_in_no_table(cohort, undisturbed, tmp_path, capfd):
    folder = copied(undisturbed, tmp_path)
    contents = read_batches(folder / "data/batches.tsv")["000"]
    gone = contents.popitem()[0]
    write_batches(folder / "data/batches.tsv", contents, 1000)
    preprocess_batch(batch_in(cohort, folder), MACHINE)
    assert computed(capfd.readouterr().out) == []
    assert gone not in read_table(folder / "preproc_batches/000.tsv")["scan_id"].tolist()


def test_whoever_may_not_read_an_image_may_not_read_what_is_preprocessed_of_it(cohort, undisturbed, tmp_path):
    given = batch_in(cohort, copied(undisturbed, tmp_path))
    scans = read_table(given.data / "scans.tsv").set_index("scan_id")
    scan_id = sorted(read_batches(given.data / "batches.tsv")["000"])[0]
    (given.data / scans.at[scan_id, "path"]).chmod(0o600)
    next(given.preproc.rglob(f"{scan_id}_qc.json")).unlink()
    preprocess_batch(given, MACHINE)
    made = [path for path in given.preproc.rglob("sub-*") if path.is_file()]
    private = {path for path in made if not path.stat().st_mode & 0o077}
    assert private == {path for path in made if path.name.startswith(f"{scan_id}_")} != set()


@pytest.mark.slow
def test_an_image_that_changed_since_the_ingest_is_named_and_the_others_are_done(cohort, tmp_path):
    given = batch_in(cohort, tmp_path)
    scans = read_table(given.data / "scans.tsv").set_index("scan_id")
    scan_id = sorted(read_batches(given.data / "batches.tsv")["000"])[0]
    image = given.data / scans.at[scan_id, "path"]
    image.write_bytes(image.read_bytes() + b"x")
    with pytest.raises(JobFailed, match=f"1 of the batch's scans.*{scan_id}.*changed since the cohort was ingested"):
        preprocess_batch(given, MACHINE)
    assert len(list(given.preproc.rglob("*_qc.json"))) == 3 and not given.output.exists()


@pytest.mark.slow
def test_a_killed_batch_ends_with_the_files_of_one_that_was_not(cohort, undisturbed, tmp_path):
    """Killed with -9 at many moments, the whole tree at once, and started again with the same words."""
    given = batch_in(cohort, tmp_path)
    command = [sys.executable, "-m", "neurocohort", "preprocess-batch", "--data", given.data, "--batch", "000"]
    command += ["--results", given.output.parents[1], "--template", given.template]
    command += ["--settings", json.dumps(SETTINGS | {"code": "code"}), "--machine", '{"memory_mb": 3000}']
    command = list(map(str, command))
    kills, seconds = 0, 2.0
    while not given.output.exists():
        process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills, seconds = kills + 1, seconds + 1.5
        assert kills < 30
        time.sleep(0.2)
    assert kills >= 2
    assert hashes(tmp_path) == hashes(undisturbed)


def group_of(leader: int) -> list[int]:
    """The living processes of a process group."""
    found = []
    for one in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(one.pid) == leader and one.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(one.pid)
    return found


def test_a_terminated_batch_marks_no_scan_and_leaves_no_worker(cohort, tmp_path):
    given = batch_in(cohort, tmp_path)
    code = "from neurocohort.imaging.batch import *; from pathlib import Path, PosixPath\n"
    script = tmp_path / "run.py"
    script.write_text(f"{code}if __name__ == '__main__':\n    preprocess_batch({given!r}, Machine(3000))\n")
    process = subprocess.Popen([sys.executable, str(script)], start_new_session=True, stdout=subprocess.PIPE, text=True)
    time.sleep(6)
    process.terminate()
    said = process.communicate(timeout=30)[0]
    assert process.returncode == 128 + signal.SIGTERM and "what is done is kept" in said
    until = time.monotonic() + 10
    while group_of(process.pid):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert all(read_json(record)["status"] == "ok" for record in given.preproc.rglob("*_qc.json"))


def reading_ahead(settings, template, networks):
    """As `_prepare` of a batch that finds brain masks on a GPU, on the CPU."""
    from neurocohort.imaging.batch import _prepare

    return _prepare(settings, template, networks, read_ahead=True)


def test_scans_that_are_read_ahead_as_for_a_gpu_end_with_the_same_files(cohort, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "_prepare", reading_ahead)
    given = batch_in(cohort, tmp_path)
    preprocess_batch(given, Machine(3000))
    assert hashes(tmp_path) == hashes(undisturbed)


def test_an_image_that_is_another_only_while_it_is_read_ahead_is_not_used(cohort, tmp_path, monkeypatch):
    def read_alone(path, *_, read, **__):
        return read(path)

    monkeypatch.setattr("neurocohort.imaging.preprocess.preprocess_scan", read_alone)
    monkeypatch.setattr("neurocohort.imaging.scan_files.write_scan", lambda result, *_: result)
    given = batch_in(cohort, tmp_path)
    do = reading_ahead(given.settings, given.template, {})
    first, second = batches._tasks(given)[:2]
    image = second.files["path"]
    right = image.read_bytes()
    shutil.copyfile(first.files["path"], image)
    do(first, second)
    time.sleep(2)  # the thread reads a file of 100 kB
    image.write_bytes(right)
    with pytest.raises(InputError, match="changed since the cohort was ingested"):
        do(second, None)


# --- scans that the machine can't finish ------------------------------------------------------------------------------


def misbehaving(settings, template, networks):
    """As `_prepare` of a batch, but the first scan allocates without end and the second loops without end."""
    from neurocohort.imaging.batch import _prepare

    do = _prepare(settings, template, networks)

    def work(task, upcoming):
        kind = settings_of_test().get(task.scan_id)
        pieces = []
        while kind:
            if kind == "greedy":
                pieces.append(np.ones(10_000_000))
        return do(task, upcoming)

    return work


def settings_of_test() -> dict[str, str]:
    return json.loads(os.environ.get("MISBEHAVING_SCANS", "{}"))


@pytest.fixture
def greedy_and_endless(cohort, tmp_path, monkeypatch):
    given = batch_in(cohort, tmp_path)
    names = sorted(read_batches(given.data / "batches.tsv")["000"])
    monkeypatch.setenv("MISBEHAVING_SCANS", json.dumps({names[0]: "greedy", names[1]: "endless"}))
    monkeypatch.setattr(batches, "_prepare", misbehaving)
    monkeypatch.setattr(batches, "SCAN_SECONDS", {"deepbet": 25.0})
    return given, names


@pytest.mark.slow
def test_a_greedy_and_an_endless_scan_are_exclusions_and_the_others_are_done(greedy_and_endless):
    given, names = greedy_and_endless
    preprocess_batch(given, Machine(2500))
    table = read_table(given.output).set_index("scan_id")["status"]
    assert table.to_dict() == {names[0]: "excluded", names[1]: "excluded", names[2]: "ok", names[3]: "ok"}
    greedy, endless = (read_json(qc_path(given.preproc, name)) for name in names[:2])
    assert greedy["stage"] == endless["stage"] == "preprocessing"
    assert "memory limit of 2300 MB" in greedy["reason"] and "mem_mb=5000" in greedy["reason"]
    assert "did not end within 25 s" in endless["reason"]
    assert len(list(qc_path(given.preproc, names[0]).parent.iterdir())) == 1, "nothing of an unfinished scan is left"


@pytest.mark.slow
def test_before_the_last_attempt_the_job_does_the_others_and_fails_with_the_names(
    greedy_and_endless, monkeypatch, capfd
):
    given, names = greedy_and_endless
    with pytest.raises(JobFailed, match=rf"2 of the batch's scans.*{names[0]}.*{names[1]}.*attempt \(2 of 3\)"):
        preprocess_batch(given, Machine(2500, attempt=1, attempts=3))
    assert len(list(given.preproc.rglob("*_qc.json"))) == 2 and not given.output.exists()
    capfd.readouterr()
    monkeypatch.setenv("MISBEHAVING_SCANS", "{}")
    preprocess_batch(given, Machine(5000, attempt=2, attempts=3))
    assert set(computed(capfd.readouterr().out)) == set(names[:2]) and given.output.exists()


def test_an_exclusion_for_the_machines_sake_is_tried_again_with_more_and_not_with_the_same(tmp_path):
    path, limits = tmp_path / "scan" / "scan_qc.json", Limits(3000, 480)
    write_exclusion(path, "scan", "key", limits, "too much")
    assert current_record(path, "key", limits) and current_record(path, "key", Limits(1000, 480))
    assert (
        current_record(path, "key", Limits(3001, 480)) is None
        and current_record(path, "key", Limits(3000, 481)) is None
    )
    assert current_record(path, "other code", limits) is None
