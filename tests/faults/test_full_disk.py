"""A disk that is full, or read-only, at every stage: one sentence with the path, nothing whole destroyed, and the plain command
goes on once there is room."""

import shutil
from dataclasses import dataclass

import pytest
from disks import Disk
from kills import Study
from neurocohort.learning.checkpoint import SECONDS_VARIABLE

KIND = "Disk full or read-only"

pytestmark = pytest.mark.machine


@dataclass(frozen=True)
class Stage:
    """``deleted``: what the stage makes, under the disk's ``folder``; ``target`` is asked for. ``leave``: free bytes."""

    folder: str
    deleted: str | tuple[str, ...]
    target: str
    leave: int = 0


TABLES = tuple(
    f"experiments/tissue/{name}.tsv"
    for name in (
        "metrics",
        "comparisons",
        "details",
        "curves",
        "confusion",
        "shift",
        "spread",
        "repeatability",
        "evaluation_notes",
        "intervals",
    )
)
STAGES = {
    "archives": Stage("resources", "synthetic/ixi", "resources/synthetic/ixi/IXI-T1.tar"),
    "ingest": Stage("data", "oasis1", "data/oasis1/scans.tsv"),
    "preprocessing": Stage("results", "oasis1/preproc*", "results/oasis1/preproc_batches/000.tsv"),
    "pack": Stage("results", "oasis1/packed", "results/oasis1/packed/development/images.npy", 100_000),
    "training": Stage("checkpoints", "*", "results/experiments/tissue/seed-1/model.safetensors"),
    "inference": Stage(
        "results", "experiments/tissue/seed-1/predictions.*", "results/experiments/tissue/seed-1/predictions.tsv"
    ),
    "evaluation": Stage("results", TABLES, "results/experiments/tissue/metrics.tsv"),
    "bundle": Stage("results", "models/tissue", "results/models/tissue"),
    "report": Stage("results", "report", "results/report", 400_000),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The smallest study, finished, for copies."""
    made = Study(tmp_path_factory.mktemp("full") / "study", ["tests/studies/smallest.yaml"], 2)
    made.fresh()
    assert made.finish() == 0, made.end_of_output()
    made.folder.rename(made.begun)
    return made


@pytest.fixture
def study(finished):
    """A finished study of a test's own, always at the same path."""
    finished.fresh()
    return finished


# A folder that is read-only fails at a stage's first file, whatever the stage: three are enough where tests have to be quick.
READ_ONLY = ("preprocessing", "training", "report")


@pytest.mark.parametrize(
    ("name", "fault"), [*((name, "full") for name in STAGES), *((name, "read-only") for name in READ_ONLY)]
)
def test_a_disk_that_cant_be_written_ends_in_a_sentence_and_the_plain_command_goes_on(study, name, fault, monkeypatch):
    monkeypatch.setenv(SECONDS_VARIABLE, "0")  # a checkpoint after each epoch
    stage = STAGES[name]
    whole = study.hashes()
    disk = Disk(study.folder / stage.folder)
    try:
        patterns = (stage.deleted,) if isinstance(stage.deleted, str) else stage.deleted
        for path in [*(path for pattern in patterns for path in disk.folder.glob(pattern)), *_trained(study, name)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        kept = study.hashes()
        disk.fill(stage.leave) if fault == "full" else disk.read_only(True)
        failed = study.run(stage.target)
        disk.empty() if fault == "full" else disk.read_only(False)
        assert failed.returncode, "nothing was written"
        said = failed.stdout + failed.stderr
        assert ("the disk is full" if fault == "full" else "ead-only") in said, said[-3000:]
        assert stage.folder in said and "Traceback" not in said, said[-3000:]
        after = study.hashes()
        assert {path: after.get(path) for path in kept if not path.endswith(".filler")} == kept, (
            "what was whole is whole"
        )
        done = study.run(stage.target)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        after = study.hashes()
        assert any(path == stage.target or path.startswith(f"{stage.target}/") for path in after.keys() - kept.keys())
        assert {path: after[path] for path in after} == {path: whole.get(path) for path in after}
        assert study.left_over() == []
    finally:
        disk.close()


def _trained(study, name):
    """The outputs of the training, which lie on another disk than its checkpoints."""
    folder = study.folder / "results" / "experiments" / "tissue" / "seed-1"
    return [folder / file for file in ("model.safetensors", "history.tsv", "run.json")] if name == "training" else ()
