"""What `neurocohort plan` counts: jobs and where they go, scans before they are known, downloads, disk, hours."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from neurocohort.checkout import workflow_files
from neurocohort.cluster.dry_run import jobs_of_one_scan, jobs_to_run
from neurocohort.cluster.jobs import Job, Resources
from neurocohort.cluster.planning import plan as planning
from neurocohort.cluster.planning.disk import needs, used_bytes
from neurocohort.cluster.planning.elapsed import Task, elapsed
from neurocohort.cluster.planning.networks import gflops, weights_bytes, windows
from neurocohort.cluster.planning.plan import ORDER, make_plan
from neurocohort.cluster.planning.rates import PARTS, TABLE, read_rates, seconds
from neurocohort.cluster.planning.study import Study
from neurocohort.cluster.planning.text import plan_text
from neurocohort.cluster.planning.work import Work, own_measurements, seconds_of
from neurocohort.cluster.profiles import Profile, read_profile, this_machine
from neurocohort.files import write_json, write_table
from neurocohort.learning.constants import SOFT_BINS
from neurocohort.sources.sources import read_source, source_table
from neurocohort.study.configuration import check_configuration, read_checked
from neurocohort.text import rough_duration, size

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "config" / "config.yaml"


def demo_config() -> dict:
    return read_checked([DEMO])


def study_of(folder: Path, **changes: object) -> Study:
    """The demo's study in ``folder``, with some of its keys changed."""
    config = yaml.safe_load(DEMO.read_text())
    return Study(check_configuration(config | changes, source="test"), folder)


# --- jobs -----------------------------------------------------------------------------------------------------------


def test_the_rules_are_those_of_the_workflow():
    text = "\n".join(path.read_text() for path in workflow_files() if path.suffix)
    rules = set(re.findall(r"^ *(?:use rule \w+ as|rule|checkpoint) (\w+)(?: with)?:", text, re.MULTILINE))
    assert rules == set(ORDER), "plan's order of rules has each of them, and no other"


def test_jobs_of_a_dry_run_have_their_files_and_what_they_request(tmp_path):
    profile = read_profile(str(ROOT / "profiles" / "slurm"))
    (tmp_path / "threads.yaml").write_text("device: auto\n")
    found = jobs_to_run([DEMO, tmp_path / "threads.yaml"], tmp_path, profile)  # jobs of a level are in any order
    jobs = {job.rule: job for job in found}
    train, pack = jobs["train"], jobs["pack"]
    assert train.resources == Resources(threads=1, gpu=1, mem_mb=8000, runtime=720)
    assert set(train.wildcards) == {"experiment", "run"} and pack.resources.gpu == 0
    model = f"results/experiments/{train.wildcards['experiment']}/{train.wildcards['run']}/model.safetensors"
    packed = {file for job in found if job.rule == "pack" for file in job.outputs}
    assert model in train.outputs and packed & {file for job in found for file in job.inputs}
    assert {rule for rule, job in jobs.items() if job.local} == {"everything", "download"}


def test_each_kind_of_job_is_met_in_a_dry_run_with_one_scan(tmp_path):
    profile = read_profile(str(ROOT / "profiles" / "slurm"))
    jobs = jobs_of_one_scan(demo_config(), profile, tmp_path)
    by_rule = {job.rule: job.resources for job in jobs}
    assert {"ingest_cohort", "preprocess_batch", "train", "predict", "predict_segmentation", "report"} <= set(by_rule)
    assert by_rule["train"]._replace(gpu=0) == Resources(threads=1, mem_mb=8000, runtime=720)
    assert by_rule["preprocess_batch"].mem_mb == 3000
    assert by_rule["preprocess_batch"].runtime == 8 * (20 + 2), "of a full batch"
    assert not list(tmp_path.iterdir()), "nothing is left in the study's folder"


def test_a_cohort_in_the_studys_folder_is_found_from_the_dry_run_elsewhere(tmp_path, monkeypatch):
    for name in ("sub-a", "sub-b", "sub-c"):
        (tmp_path / "bids" / name / "anat").mkdir(parents=True)
        (tmp_path / "bids" / name / "anat" / f"{name}_T1w.nii.gz").touch()
    (tmp_path / "bids/participants.tsv").write_text("participant_id\tage\nsub-a\t30\nsub-b\t40\nsub-c\t50\n")
    monkeypatch.chdir(tmp_path)
    experiment = {"task": "regression", "target": "age", "cohorts": ["own"], "network": {"name": "sfcn"}}
    study = {
        "study": "bids",
        "cohorts": {"own": {"source": "bids", "path": "bids"}},
        "experiments": {"age": experiment},
    }
    jobs = jobs_of_one_scan(check_configuration(study, source="test"), this_machine(), tmp_path)
    assert {"ingest_cohort", "preprocess_batch", "train"} <= {job.rule for job in jobs}


def test_a_cohorts_batches_are_jobs_with_the_time_of_their_scans(tmp_path):
    study = study_of(tmp_path)
    assert (study.batches("ixi"), study.scans_in_batch("ixi", "")) == (4, 5), "20 scans"
    folder = tmp_path / "data" / "ixi"
    folder.mkdir(parents=True)
    (folder / "batches.tsv").write_text("scan_id\tbatch\tcontent\na\t001\tx\nb\t001\ty\nc\t000\tz\n")
    assert study.scans_in_batch("ixi", "001") == 2
    one, two = (seconds_of(study, Work("preprocess", "ixi", batch)) for batch in ("000", "001"))
    assert two == pytest.approx(2 * one)


def test_elapsed_time_follows_files_cores_and_gpus():
    first = [Task(Job("a", outputs=(f"{n}",)), 10.0) for n in range(4)]
    last = Task(Job("b", inputs=tuple(f"{n}" for n in range(4)), outputs=("end",)), 3.0)
    machine = Profile("local", cores=2, jobs=2, local_cores=2)
    assert elapsed([*first, last], machine) == 23.0, "four jobs on two cores, and then the one that needs them"
    cluster = Profile("slurm", "slurm", jobs=4, cores=8, local_cores=1)
    assert elapsed([*first, last], cluster) == 13.0
    gpu = Profile("local-gpu", cores=8, jobs=8, local_cores=8, gpus=1)
    networks = [Task(Job("train", outputs=(f"{n}",), resources=Resources(gpu=1)), 7.0) for n in range(3)]
    assert elapsed(networks, gpu) == 21.0, "one GPU, one training at a time"


# --- cohorts --------------------------------------------------------------------------------------------------------


def test_public_cohorts_are_sized_by_their_source_tables(tmp_path):
    ixi = Study(read_checked([ROOT / "config" / "ixi.yaml"]), tmp_path)
    assert (ixi.cohorts["ixi"].scans, ixi.cohorts["ixi"].counted) == (581, False)
    assert sum(archive.missing_bytes for archive in ixi.archives) == pytest.approx(4.51e9, rel=0.001)
    config = yaml.safe_load((ROOT / "config" / "oasis1.yaml").read_text())
    config["cohorts"]["oasis1"]["accept_data_use_agreement"] = True
    whole = Study(check_configuration(config, source="test"), tmp_path)
    assert whole.cohorts["oasis1"].scans == 436
    assert whole.parts("dementia").all == pytest.approx(235), "those with a rating"
    assert whole.parts("tissue").all == pytest.approx(436)
    config["cohorts"]["oasis1"]["discs"] = [1, 2]
    two = Study(check_configuration(config, source="test"), tmp_path)
    assert two.cohorts["oasis1"].scans == 78
    assert sum(archive.size_bytes for archive in two.archives) == 1380527970 + 1403357161


def test_estimates_are_no_part_of_what_downloads_depend_on():
    file = read_source(source_table("ixi")).files["t1"]
    assert file.approximate_gb == 4.51 and file.size_bytes is None
    assert str(file) == str(replace(file, approximate_gb=9.0, scans=1)), "a better estimate must not fetch 4.5 GB again"


def test_own_cohorts_are_counted_where_they_lie(tmp_path):
    image = nib.Nifti1Image(np.zeros((40, 50, 60), dtype=np.int16), np.eye(4))
    for name in ("sub-a/ses-1", "sub-c/ses-2", "sub-b/ses-1"):
        folder = tmp_path / "bids" / name / "anat"
        folder.mkdir(parents=True)
        stem = name.replace("/", "_")
        nib.save(image, folder / f"{stem}_T1w.nii.gz")
        nib.save(image, folder / f"{stem}_run-2_T1w.nii.gz")
    nib.save(image, tmp_path / "bids/sub-b/ses-1/anat/sub-b_ses-1_dseg.nii.gz")
    nib.save(image, tmp_path / "one.nii")
    rows = pd.DataFrame({"participant_id": ["a", "b"], "path": ["one.nii", "gone.nii"], "age": [30, 40]})
    rows.to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "bids" / "participants.tsv").write_text("participant_id\tage\nsub-a\t30\nsub-b\t40\nsub-c\t50\n")
    experiments = {"age": {"task": "regression", "target": "age", "cohorts": ["clinic"], "network": {"name": "sfcn"}}}
    cohorts = {
        "clinic": {"source": "bids", "path": str(tmp_path / "bids")},
        "runs": {"source": "bids", "path": str(tmp_path / "bids"), "run": "all"},
        "archive": {"source": "table", "path": str(tmp_path / "table.csv")},
    }
    config = check_configuration({"study": "own", "cohorts": cohorts, "experiments": experiments}, source="test")
    sized = Study(config, tmp_path).cohorts
    assert (sized["clinic"].scans, sized["clinic"].labelled, sized["clinic"].written_mvoxels) == (3, 1, 0)
    assert sized["clinic"].scan_mvoxels == pytest.approx(0.12)
    assert sized["runs"].scans == 6
    assert sized["archive"].scans == 2
    assert sized["archive"].written_mvoxels == pytest.approx(0.12, rel=0.01), "a .nii is written anew"


def test_scans_are_counted_once_they_are_ingested(tmp_path):
    (tmp_path / "data" / "ixi").mkdir(parents=True)
    scans = pd.DataFrame({"scan_id": ["1", "2", "3"], "dseg_path": [None, None, "x"]})
    write_table(tmp_path / "data" / "ixi" / "scans.tsv", scans)
    cohort = study_of(tmp_path).cohorts["ixi"]
    assert (cohort.scans, cohort.labelled, cohort.counted) == (3, 1, True)
    assert not study_of(tmp_path).cohorts["oasis1"].counted


# --- networks, rates and what was measured here -----------------------------------------------------------------------


def test_a_networks_outputs_are_those_of_its_own_settings():
    settings = {"task": "regression", "network": "sfcn", "channels": [4, 8], "classes": 2, "modalities": ["T1w"]}
    bins, value = weights_bytes(settings), weights_bytes(settings | {"soft_bins": False})
    assert bins - value == 4 * (SOFT_BINS - 1) * (8 + 1), "a head with a weight for each channel, and a bias"
    densenet = settings | {"network": "densenet121", "channels": []}
    assert weights_bytes(densenet) == weights_bytes(densenet | {"soft_bins": False}), "it has no bins"


def test_arithmetic_is_counted_for_any_channels_and_grid():
    settings = {"task": "regression", "network": "sfcn", "channels": [4, 8], "classes": 2, "modalities": ["T1w"]}
    assert gflops(settings, [32, 32, 32]) == pytest.approx(2e-9 * (27 * 4 * 32**3 + 4 * 8 * 16**3 + 8 * 32), rel=1e-6)
    assert windows([], [80, 96, 80]) == 1
    assert windows([64, 64, 64], [64, 96, 128]) == 1 * 2 * 3


def test_a_network_that_was_never_measured_is_as_slow_as_the_slowest():
    known = [seconds(f"train {name}", mvoxels=1.0, gflops=50.0) for name in ("sfcn", "densenet121", "resnet18", "swin")]
    assert seconds("train seresnet50", mvoxels=1.0, gflops=50.0) >= max(known)


def test_every_figure_that_is_asked_for_was_measured():
    rates = read_rates()
    assert all(any(getattr(rate, part) > 0 for part in PARTS) for rate in rates.values()), "no rate is nothing"
    assert all(rate.date != "n/a" and rate.machine and rate.command for rate in rates.values())
    measured = ("sfcn", "vit", "swin", "densenet121", "resnet10", "resnet18", "resnet34")
    for name in (*measured, "unet", "dynunet", "segresnet", "resencunet", "swinunetr"):
        assert {f"train {name}", f"infer {name}", f"size of weights {name}"} <= set(rates)
    others = {"apply_model", "suggest", "tracking", "regions"}  # from the rates of other rules
    assert {planning.KINDS.get(rule, rule) for rule in ORDER} - others <= set(rates), "every rule has a rate"
    assert len(TABLE.read_text().splitlines()) == len(rates) + 1, "each figure once"


def test_each_job_of_a_demo_and_of_a_large_study_has_a_time(tmp_path):
    for study in (study_of(tmp_path), Study(read_checked([ROOT / "tests/studies/synthetic_large.yaml"]), tmp_path)):
        for kind in ("synthetic", "ingest", "preprocess", "quality", "split", "pack"):
            assert seconds_of(study, Work(kind, "oasis1")) > 0
        for experiment in study.experiments:
            for kind in ("select", "train", "predict", "ensemble", "baselines", "metrics", "bundle"):
                assert seconds_of(study, Work(kind, experiment)) > 0


def test_time_grows_with_epochs_scans_and_grid(tmp_path):
    base = study_of(tmp_path)
    fine = study_of(tmp_path, preprocessing={"spacing_mm": 1.0, "shape": [160, 192, 160]})
    assert seconds_of(fine, Work("train", "brain_age")) > 15 * seconds_of(base, Work("train", "brain_age")) / 2
    twice = seconds_of(base, Work("train", "brain_age", epochs=100)) / seconds_of(
        base, Work("train", "brain_age", epochs=50)
    )
    assert 1.5 < twice < 2.05
    assert seconds_of(fine, Work("preprocess", "ixi")) > seconds_of(base, Work("preprocess", "ixi"))


def test_painted_images_take_longer_than_scans(tmp_path):
    tissue = yaml.safe_load(DEMO.read_text())["experiments"]["tissue"]
    training = {"epochs": 10, "augmentation": {"flip": False}}
    took = []
    for synthetic in ({}, {"synthetic": {"fraction": 0.5}}, {"synthetic": {"fraction": 1.0}}):
        experiments = {"tissue": tissue | {"training": training | synthetic}}
        study = study_of(tmp_path, experiments=experiments, preprocessing={"intensity": "percentile"})
        took.append(seconds_of(study, Work("train", "tissue")))
    assert took[0] < took[1] < took[2]
    assert took[2] - took[0] == pytest.approx(2 * (took[1] - took[0]))
    expected = 10 * study.parts("tissue").train * seconds("painted image", mvoxels=study.grid_mvoxels)
    assert took[2] - took[0] == pytest.approx(expected)


def benchmark(folder: Path, name: str, seconds: float) -> None:
    path = folder / "benchmarks" / f"{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tcpu_time\n{seconds}\t-\t{seconds}\n")


def test_the_studys_own_benchmarks_replace_the_rates(tmp_path):
    study = study_of(tmp_path)
    usual = seconds_of(study, Work("preprocess", "ixi"))
    for number in range(4):
        benchmark(tmp_path, f"preprocess/ixi/sub-{number}", 3 * usual)
    benchmark(tmp_path, "train/gone/seed-1", 100.0)
    (tmp_path / "benchmarks" / "report.tsv").write_text("half a fi")
    own = own_measurements(study)
    assert set(own) == {("preprocess", False)}, "an experiment that is gone and half a file count for nothing"
    assert own["preprocess", False].jobs == 4 and own["preprocess", False].ratio == pytest.approx(3.0)


def test_times_on_a_gpu_are_told_apart_from_those_on_a_cpu(tmp_path):
    study = study_of(tmp_path)
    run = {"epochs_run": 25, "device": "NVIDIA A100", "settings": {"threads": 1}}
    write_json(tmp_path / "results/experiments/brain_age/seed-1/run.json", run)
    benchmark(tmp_path, "train/brain_age/seed-1", seconds_of(study, Work("train", "brain_age", epochs=25)) / 10)
    benchmark(tmp_path, "train/dementia/seed-1", seconds_of(study, Work("train", "dementia")) * 2)
    own = own_measurements(study)
    assert own["train", True].ratio == pytest.approx(0.1) and own["train", False].ratio == pytest.approx(2.0)


# --- disk -------------------------------------------------------------------------------------------------------------


def test_packs_are_counted_exactly_and_what_is_there_is_taken_off(tmp_path):
    study = study_of(tmp_path)
    parts = {need.part: need for need in needs(study, 1)}
    voxels = 56 * 64 * 56
    assert parts["packs"].peak == (20 + 28 + 28) * voxels, "a byte a voxel, and one for each label"
    packed = tmp_path / "results" / "ixi" / "packed" / "development"
    packed.mkdir(parents=True)
    (packed / "images.npy").write_bytes(b"\1" * voxels)
    later = {need.part: need for need in needs(study_of(tmp_path), 1)}["packs"]
    assert later.to_come == pytest.approx(parts["packs"].peak - voxels, abs=10_000)


def test_finer_raw_scans_need_more_room_for_their_tissue_maps(tmp_path):
    def preprocessed(spacing_mm: float) -> float:
        blocks = yaml.safe_load(DEMO.read_text())["synthetic"]
        study = study_of(
            tmp_path, synthetic={name: block | {"spacing_mm": spacing_mm} for name, block in blocks.items()}
        )
        return {need.part: need.peak for need in needs(study, 1)}["preprocessed scans"]

    assert preprocessed(2.0) > preprocessed(4.0) + 1e6


def test_probabilities_of_a_segmentation_count_at_the_peak(tmp_path):
    def room(**training: object) -> float:
        config = yaml.safe_load(DEMO.read_text())
        config["experiments"]["tissue"]["training"] |= training
        study = Study(check_configuration(config, source="test"), tmp_path)
        return {need.part: need.peak for need in needs(study, 1)}["networks and predictions"]

    more = room(seeds=[1, 2]) - room()
    assert more > 4 * 28 * 0.55 * 56 * 64 * 56 * 0.99


def test_used_bytes_are_those_of_du(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(os.urandom(100_000))
    os.link(tmp_path / "a" / "file", tmp_path / "a" / "again")
    (tmp_path / "a" / "link").symlink_to("/usr")
    du = int(
        subprocess.run(["du", "-sk", tmp_path / "a"], capture_output=True, text=True, check=True).stdout.split()[0]
    )
    assert used_bytes(tmp_path / "a") / 1024 == pytest.approx(du)
    assert used_bytes(tmp_path / "absent") == 0


# --- the whole --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slurm_plan(tmp_path_factory):
    """The demo's plan on a cluster, with GPUs."""
    folder = tmp_path_factory.mktemp("study")
    auto = folder / "auto.yaml"
    auto.write_text("device: auto\n")
    config = read_checked([DEMO, auto])
    return make_plan(config, [DEMO, auto], folder, read_profile(str(ROOT / "profiles" / "slurm")))


def test_jobs_by_rule_and_queue(slurm_plan):
    lines = {line.rule: line for line in slurm_plan.lines}
    assert (lines["train"].jobs, lines["train"].queue, lines["train"].on_gpu) == (3, "gpu", True)
    assert (lines["pack"].jobs, lines["pack"].queue) == (4, "cpu")
    assert lines["download"].queue == "this machine"
    scans = lines["preprocess_batch"]
    assert (scans.jobs, scans.estimated) == (8, True), "20 and 28 scans, in four batches each"
    assert "all" not in lines
    assert slurm_plan.elapsed_s > max(line.seconds / line.jobs for line in slurm_plan.lines)


def test_the_text_marks_estimates_and_says_that_no_gpu_was_measured(slurm_plan):
    text = "\n".join(plan_text(slurm_plan))
    assert re.search(r"preprocess_batch +~8 +cpu", text)
    assert re.search(r"train +3 +gpu +\([\d.]+ (s|min|h)\) +\? +rates", text)
    assert "GPU hours: not measured on a GPU so far; on one CPU core each, the same jobs take ~" in text
    assert "~ ixi: 20 scans, an estimate: they are counted by the ingest." in text
    assert "Downloads: nothing is left to download." in text
    assert re.search(r"Disk: ~[\d.]+ MB at its peak", text) and "without waiting in the queue" in text
    assert text.isascii()


def test_a_plan_without_a_profile_is_that_of_this_machine(tmp_path):
    plan = make_plan(demo_config(), [DEMO], tmp_path, this_machine())
    text = "\n".join(plan_text(plan))
    assert f"with --cores {this_machine().cores}" in text
    assert all(line.queue == "this machine" for line in plan.lines)


def test_a_study_that_lacks_room_is_told(slurm_plan, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    assert any("TOO LITTLE" in line for line in plan_text(slurm_plan))


def test_a_dry_run_that_fails_is_told_in_its_words(tmp_path):
    study = tmp_path / "study.yaml"
    config = yaml.safe_load(DEMO.read_text())
    config["cohorts"]["ixi"]["base_url"] = str(tmp_path / "nowhere")
    del config["synthetic"]["ixi"]
    study.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "neurocohort", "plan", str(study), "--directory", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "Snakemake's dry run of this study fails" in done.stderr
    assert "nowhere" in done.stderr and "Traceback" not in done.stderr


def test_a_batch_that_is_to_come_is_between_its_cohort_and_the_quality_table(tmp_path):
    quality = Job("quality", {"cohort": "ixi"}, ("data/ixi/scans.tsv", "<TBD>"), ("results/ixi/qc.tsv",))
    example = Job("preprocess_batch", {"cohort": "ixi"}, resources=Resources(mem_mb=3000))
    after, *made = planning.with_jobs_of_scans(study_of(tmp_path), [quality], ["ixi"], [example])
    assert [job.resources.mem_mb for job in made] == [3000] * 4 and all(job.estimated for job in made)
    assert {file for job in made for file in job.outputs} <= set(after.inputs)


def test_amounts_are_written_as_a_person_reads_them():
    assert [rough_duration(value) for value in (4, 99, 100, 6600, 7200, 118800, 4.6e6)] == [
        "4 s",
        "99 s",
        "1.7 min",
        "110 min",
        "2 h",
        "33 h",
        "53 d",
    ]
    assert [size(value) for value in (0, 4.51e9, 8.12e8, 1.5e12)] == ["0 kB", "4.51 GB", "812 MB", "1.5 TB"]


def test_a_finished_study_has_nothing_to_do(slurm_plan):
    empty = replace(slurm_plan, lines=[], estimated={}, downloads=[])
    assert "Jobs: none." in "\n".join(plan_text(empty))


def test_the_profile_of_another_folder_is_read(tmp_path):
    (tmp_path / "mine").mkdir()
    profile = {"executor": "slurm", "jobs": 7, "cores": 4}
    (tmp_path / "mine" / "config.yaml").write_text(json.dumps(profile))
    read = read_profile("mine", tmp_path)
    assert (read.jobs, read.cores) == (7, 4)
