"""Grid Engine as the doctor, the plan and a run's messages see it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from doctor_helpers import ROOT
from neurocohort.cluster import grid_engine
from neurocohort.cluster.asking import Answer
from neurocohort.cluster.doctor.findings import BAD, GOOD, Finding
from neurocohort.cluster.jobs import Resources
from neurocohort.cluster.profiles import Profile, read_profile
from neurocohort.cluster.scheduler import MEMORY, TIME, Ending, Submission
from neurocohort.errors import InputError

COMPLEXES = """\
#name               shortcut   type      relop requestable consumable default  urgency
gpu                 gpu        INT       <=    YES         YES        0        0
h_vmem              h_vmem     MEMORY    <=    YES         YES        0        0
load_avg            la         DOUBLE    >=    NO          NO         0        0
"""
QUEUE = """\
qname                 all.q
pe_list               smp make,[node1=mpi]
slots                 8,[node1=64], \\
                      [node2=16]
h_rt                  24:00:00,[@gpus=72:00:00]
"""


@pytest.fixture
def sge_profile() -> Profile:
    return read_profile(str(ROOT / "profiles" / "sge"))


SMP = "pe_name smp\nallocation_rule    $pe_slots\n"
ANSWERS = {"-sp": SMP, "-F": "hc:gpu=1.000000"}  # of qconf and qhost, by their option


@pytest.fixture
def judged(sge_profile, monkeypatch):
    """Judges the checkout's site.yaml with some keys changed, against a Grid Engine of COMPLEXES and QUEUE."""
    monkeypatch.setattr(grid_engine, "ask", lambda program, option, *_: Answer(ANSWERS.get(option, "")))

    def judge(needs_gpu: bool = True, complexes: str = COMPLEXES, **site: object) -> list[Finding]:
        queues = {"all.q": grid_engine.read_queue(QUEUE)}
        names = grid_engine.Names(queues, grid_engine.read_resources(complexes), ["smp"])
        return grid_engine.site_findings(replace(sge_profile.site, **site), Path("site.yaml"), names, gpu=needs_gpu)

    return judge


def test_a_queue_is_read_with_its_largest_values():
    queue = grid_engine.read_queue(QUEUE)
    assert (queue.name, queue.slots, queue.limit_minutes) == ("all.q", 64, 72 * 60)
    assert queue.environments == {"smp", "make", "mpi"}


@pytest.mark.parametrize(
    ("site", "name", "said"),
    [
        ({"queue": "long.q"}, "queue", "long.q isn't there; the queues are all.q"),
        ({"gpu": "cuda={gpus}"}, "gpu", "cuda is no resource that jobs can request; there are gpu"),
        ({"gpu": "la={gpus}"}, "gpu", "la is no resource"),
        ({"gpu": "gpu={gpus},gpu_type=a100"}, "gpu", "gpu_type is no resource"),
        ({"gpu_slots": "threads"}, "gpu_slots", "each slot of a job takes a gpu (consumable YES)"),
        ({"parallel_environment": "orte"}, "parallel_environment", "`qconf -spl` has smp"),
        ({"memory": {"tmem": 100}}, "memory", "tmem is no resource"),
        ({"memory_per": "job"}, "memory_per", "h_vmem counts for each slot"),
        ({"project": "brains"}, "project", "brains isn't there"),
    ],
)
def test_names_of_site_yaml_that_are_not_there(judged, site, name, said):
    found = [finding for finding in judged(**site) if finding.mark == BAD]
    assert any(finding.name == f"site.yaml {name}" and said in finding.found for finding in found), found
    assert all("site.yaml" in finding.fix for finding in found)


def test_a_gpu_that_counts_for_the_whole_job(judged):
    complexes = COMPLEXES.replace("<=    YES         YES        0", "<=    YES         JOB        0", 1)
    assert any("consumable JOB" in finding.found for finding in judged(complexes=complexes, gpu_slots="gpus"))
    assert all(finding.mark == GOOD for finding in judged(complexes=complexes, gpu_slots="threads"))


def test_site_yaml_that_fits_is_a_tick_and_needs_no_gpu_for_a_study_without(judged):
    assert all(finding.mark == GOOD for finding in judged())
    assert all(finding.mark == GOOD for finding in judged(needs_gpu=False, gpu_parallel_environment="none"))


def test_a_queue_that_is_too_short_is_reported(sge_profile):
    queues = {"all.q": grid_engine.read_queue(QUEUE)}

    def judge(profile: Profile, **resources: int) -> str:
        submission = Submission("train", "", Resources(**resources))
        found = grid_engine.job_misfits(submission, queues, 64000, profile.site, profile)
        return "none" if found is None else " ".join(misfit.finding.found for misfit in found)

    assert "train requests 4.2 d, and any queue allows 3 d" in judge(sge_profile, mem_mb=8000, runtime=100 * 60)
    said = judge(sge_profile, threads=100, mem_mb=100000, runtime=10)
    assert "100 slots in smp, and any queue has 64 on a host" in said and "the largest host has 64 GB" in said
    elsewhere = replace(sge_profile, name="elsewhere")
    elsewhere.__dict__["site"] = replace(sge_profile.site, queue="gone.q")
    assert judge(elsewhere, runtime=100 * 60) == "none", "the queue's name is reported already"


def test_an_unknown_key_of_site_yaml_is_reported(tmp_path, sge_profile):
    shutil.copytree(sge_profile.folder, tmp_path / "sge")
    with (tmp_path / "sge" / "site.yaml").open("a") as stream:
        stream.write("gpu_que: gpu.q\n")
    with pytest.raises(InputError, match="has the key gpu_que; expected gpu"):
        _ = replace(sge_profile, folder=tmp_path / "sge").site


def test_the_memory_of_the_largest_host_is_read():
    table = "HOSTNAME ARCH NCPU NSOC NCOR NTHR LOAD MEMTOT MEMUSE SWAPTO SWAPUS\nglobal - - - - - - - - - -\n"
    assert grid_engine.read_memory_mb(
        table + "n1 lx 2 1 2 2 0.1 1.5G 1G 0 0\nn2 lx 2 1 2 2 0.1 512.0M 1G 0 0\n"
    ) == pytest.approx(1610.6, abs=0.1)


QACCT = """\
==============================================================
hostname     node1
category     -l h_rt=600,h_vmem=2G
slots        2
failed       {failed}
exit_status  137
ru_wallclock {seconds}s
maxvmem      {used}G
"""


@pytest.mark.parametrize(
    ("seconds", "used", "cause", "words"),
    [
        (601, 1.0, TIME, "601 s of 600 s (h_rt)"),
        (10, 3.99, MEMORY, "MB of 4295 MB (h_vmem)"),
        (10, 1.0, "", "on node1"),
    ],
)
def test_how_a_job_ended_is_read_from_the_accounting(seconds, used, cause, words):
    ending = grid_engine.read_ending(QACCT.format(failed=0, seconds=seconds, used=used))
    assert ending.cause == cause and words in ending.words and "exit status 137" in ending.words
    assert grid_engine.read_ending("") == Ending()
