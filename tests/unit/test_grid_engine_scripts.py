"""The scripts of Grid Engine's profile: the options of qsub, and what is read from qstat, exit codes and qacct."""

import importlib.util
import json
import os
import time
from dataclasses import replace

import pytest
import yaml
from neurocohort.cluster.jobs import Resources
from neurocohort.cluster.site import read_site, submit_options
from neurocohort.errors import InputError


@pytest.fixture
def script(repository, monkeypatch, tmp_path):
    """A script of the profile as a module, in a study's folder, with stand-ins for Grid Engine's programs on the PATH."""
    monkeypatch.chdir(tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")

    def load(name: str, **stand_ins: str):
        for program, body in stand_ins.items():
            (programs / program).write_text(f"#!/bin/sh\n{body}\n")
            (programs / program).chmod(0o755)
        spec = importlib.util.spec_from_file_location(name, repository / f"profiles/sge/{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def table_of(repository, name):
    return yaml.safe_load((repository / "profiles/sge" / name).read_text())


@pytest.mark.parametrize(
    ("table", "threads", "resources", "expected"),
    [
        ("site.yaml", 1, {"mem_mb": 1000, "runtime": 10}, "-l h_vmem=5000M -l h_rt=600"),
        ("site.yaml", 4, {"mem_mb": 8000}, "-pe smp 4 -l h_vmem=3000M"),
        ("site.yaml", 4, {"gpu": 1, "mem_mb": 8000, "runtime": 720}, "-l gpu=1 -l h_vmem=38000M -l h_rt=43200"),
        ("site.yaml", 2, {"gpu": 2, "mem_mb": 8000}, "-pe smp 2 -l gpu=1 -l h_vmem=19000M"),
        ("sites/ucl-cs.yaml", 1, {"mem_mb": 3000, "runtime": 8}, "-l tmem=5000M -l h_vmem=5000M -l h_rt=480"),
        ("sites/ucl-cs.yaml", 4, {"mem_mb": 8000}, "-pe smp 4 -l tmem=2500M -l h_vmem=2500M -R y"),
        ("sites/ucl-cs.yaml", 4, {"gpu": 1, "mem_mb": 8000}, "-l gpu=true -l tmem=10000M -R y"),
        ("sites/ucl-cs.yaml", 4, {"gpu": 2, "mem_mb": 8000}, "-pe gpu 2 -l gpu=true -l tmem=5000M -R y"),
    ],
)
def test_threads_memory_time_and_gpus_are_requested_with_the_sites_names(
    repository, table, threads, resources, expected
):
    site = read_site(repository / "profiles/sge" / table)
    assert " ".join(submit_options(site, Resources(threads=threads, **resources))) == expected


def test_number_of_gpus_that_a_site_cannot_request_is_refused(repository):
    site = replace(read_site(repository / "profiles/sge/site.yaml"), gpu="gpu=true", gpu_slots="threads")
    with pytest.raises(InputError, match="can't request a number of them"):
        submit_options(site, Resources(threads=4, gpu=2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpus": "gpu=1"}, "has the key gpus; expected"),
        ({"gpu": None}, "lacks the key gpu"),
        ({"memory_per": "core"}, "memory_per: 'core'; expected slot or job"),
        ({"reservation": "yes"}, "reservation: 'yes'; expected bool"),
    ],
)
def test_wrong_table_ends_in_a_sentence(repository, tmp_path, change, message):
    site = {key: value for key, value in (table_of(repository, "site.yaml") | change).items() if value is not None}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(site))
    with pytest.raises(InputError, match=message):
        read_site(tmp_path / "site.yaml")


@pytest.mark.parametrize(
    ("text", "message"), [("gpu: [", "can't be read as YAML"), ("- gpu", "has list at its top level")]
)
def test_a_file_that_is_no_table_ends_in_a_sentence(tmp_path, text, message):
    (tmp_path / "site.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_site(tmp_path / "site.yaml")


def test_job_may_use_the_slots_that_it_was_given_and_its_number_is_printed(script, monkeypatch, tmp_path, capsys):
    job = tmp_path / "job.sh"
    properties = {"type": "group", "groupid": "preprocess", "threads": 1, "resources": {"mem_mb": 3000, "runtime": 160}}
    job.write_text(f"#!/bin/sh\n# properties = {json.dumps(properties)}\npython -m snakemake --cores 8 --attempt 1\n")
    submit = script("submit", qsub='echo "note of the site"; echo 4711.1-1:1; echo "$@" > asked')
    monkeypatch.setattr("sys.argv", ["submit.py", str(job)])
    submit.main()
    assert capsys.readouterr().out == "4711\n"
    assert "--cores 1 --attempt" in job.read_text() and "-N nc-preprocess" in (tmp_path / "asked").read_text()


QSTAT = """\
job-ID  prior   name       user         state submit/start at     queue                          slots ja-task-ID
-----------------------------------------------------------------------------------------------------------------
      7 0.55500 nc-train   me           r     11/26/2026 00:32:24 gpu.q@node1                        1
      8 0.00000 nc-split   me           Eqw   11/26/2026 00:32:24                                    1
      9 0.00000 nc-split   me           qw    11/26/2026 00:32:40                                    1
"""
QACCT = "echo '==='; echo 'failed       {failed}'; echo 'exit_status  {code}'"
KILLED = QACCT.format(failed="100 : assumedly after job", code=137)


def status(script, tmp_path, job, qacct="exit 1", qstat=f"cat <<'E'\n{QSTAT}E", code=None):
    module = script("status", qstat=qstat, qacct=qacct, qdel="true")
    if code is not None:
        (tmp_path / ".snakemake/sge").mkdir(parents=True, exist_ok=True)
        (tmp_path / ".snakemake/sge" / job).write_text(f"{code}\n")
    return module.status_of(job)


def test_jobs_in_the_queue_run_and_those_in_error_have_failed(script, tmp_path):
    assert [status(script, tmp_path, job) for job in ("7", "9", "8")] == ["running", "running", "failed"]


def test_exit_code_decides_once_the_job_is_gone(script, tmp_path):
    assert status(script, tmp_path, "20", code=0) == "success"
    assert status(script, tmp_path, "21", code=1) == "failed"


def test_killed_job_leaves_no_code_and_the_accounting_tells(script, tmp_path):
    assert status(script, tmp_path, "22", qacct=KILLED) == "failed"
    assert status(script, tmp_path, "23", qacct=QACCT.format(failed=0, code=0)) == "success"


def test_job_that_nobody_knows_runs_for_a_while_and_has_failed_then(script, tmp_path):
    assert status(script, tmp_path, "24") == "running"
    first = tmp_path / ".snakemake/sge/24.forgotten"
    os.utime(first, (time.time() - 100,) * 2)
    assert status(script, tmp_path, "24") == "failed"


def test_scheduler_that_does_not_answer_fails_no_job(script, tmp_path):
    assert status(script, tmp_path, "25", qstat="exit 1") == "running"
    assert status(script, tmp_path, "25", qstat="echo 'cannot connect to qmaster' >&2; exit 1") == "running"
