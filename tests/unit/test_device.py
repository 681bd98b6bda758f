"""A job that was promised a GPU and sees none fails at once and says what it saw."""

import os

import pytest
import torch
from neurocohort.device import choose_device
from neurocohort.errors import InputError

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the refusal shows only where no GPU is visible")


def fake_nvidia_smi(folder, monkeypatch, script: str) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_refusal_tells_what_the_job_saw(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError) as refused:
        choose_device("cuda")
    for part in (
        "CUDA_VISIBLE_DEVICES is 7",
        "nvidia-smi is not installed",
        f"torch is {torch.__version__}",
        "GPU queue",
    ):
        assert part in str(refused.value)


def test_refusal_tells_the_driver(monkeypatch, tmp_path):
    fake_nvidia_smi(tmp_path, monkeypatch, "echo 'Some GPU, 999.10'; echo 'Some GPU, 999.10'")
    with pytest.raises(InputError, match=r"nvidia-smi reports `Some GPU, 999\.10; Some GPU, 999\.10`"):
        choose_device("cuda")


def test_refusal_tells_why_the_driver_could_not_be_asked(monkeypatch, tmp_path):
    fake_nvidia_smi(tmp_path, monkeypatch, "echo 'no driver is running' >&2; exit 9")
    with pytest.raises(InputError, match="nvidia-smi reports `no driver is running`"):
        choose_device("cuda")


@pytest.mark.parametrize("asked", ["auto", "cpu"])
def test_job_without_that_promise_takes_the_cpu(asked):
    assert choose_device(asked) == torch.device("cpu")
