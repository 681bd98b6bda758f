"""What `neurocohort doctor --cluster` reports about the jobs that it sends."""

import json
from dataclasses import replace

import pytest
from doctor_helpers import ROOT
from neurocohort.cli.machines import probe
from neurocohort.cluster.doctor import cluster_jobs
from neurocohort.cluster.probe import Sight, Torch

TORCH = Torch("2.13.0", "13.0", ["NVIDIA A100"], "", 2.5)
SIGHT = Sight(
    started=105.0,
    written=110.0,
    host="node1",
    cpus=1,
    cpus_granted={"NSLOTS": "1"},
    memory_limit_bytes=2_000_000_000,
    cuda_visible_devices="0",
    package=str(ROOT / "workflow" / "neurocohort"),
    internet=False,
    torch=TORCH,
)


NO_GPU = replace(TORCH, gpus=[])


@pytest.mark.parametrize(
    ("kind", "sight", "said"),
    [
        ("gpu", SIGHT, None),
        ("gpu", replace(SIGHT, torch=replace(NO_GPU, cuda=None)), "is built for the CPU only"),
        ("gpu", replace(SIGHT, torch=NO_GPU, cuda_visible_devices=None), "the scheduler gave it none"),
        ("gpu", replace(SIGHT, torch=NO_GPU), "the node's driver doesn't support it"),
        ("cpu", replace(SIGHT, torch=NO_GPU), None),
        ("cpu", replace(SIGHT, package="/home/other/neurocohort"), "imported the package from /home/other/neurocohort"),
        (
            "cpu",
            replace(SIGHT, torch=Torch(None, None, [], "ImportError: libcudart", 2.5)),
            "can't import torch: ImportError: libcudart",
        ),
    ],
)
def test_what_a_job_found_is_judged(kind, sight, said):
    sent = cluster_jobs.Sent(kind, "7", submitted=100.0, shown=110.5)
    line = cluster_jobs.described(sent, sight)
    assert line.startswith("ran on node1 5 s after it was submitted; 1 usable CPUs (NSLOTS 1); memory limit 2 GB")
    assert "its file showed here after 0.5 s" in line
    findings = cluster_jobs.judge_sight(sent, sight)
    assert bool(findings) == (said is not None)
    assert said is None or (said in findings[0].found and findings[0].fix)


def test_a_clock_that_is_ahead_is_no_negative_delay():
    sent = cluster_jobs.Sent("cpu", "7", submitted=100.0, shown=103.0)
    assert "clock is 7 s ahead" in cluster_jobs.described(sent, SIGHT)


def test_a_probe_writes_what_the_doctor_reads(tmp_path):
    probe(tmp_path / "cpu.json", "http://127.0.0.1:9/")
    found = json.loads((tmp_path / "cpu.json").read_text())
    sight = Sight(**(found | {"torch": Torch(**found["torch"])}))
    assert sight.torch.version and sight.package == SIGHT.package and not sight.internet
