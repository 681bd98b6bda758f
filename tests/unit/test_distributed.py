"""Several processes train what one would: the same loss curve, one checkpoint, and a stop of all at the same step."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import toy_training
from neurocohort.errors import InputError
from neurocohort.learning.checkpoint import INTERRUPTED_EXIT_CODE, attempt_file
from neurocohort.learning.distributed import is_main_process, joined
from toy_training import CHECKPOINT, CPU, WEIGHTS_HASH, result_of, run, started, toy_settings

PROCESSES = 2
SETTINGS = {"norm": "group", "dropout": 0.0, "processes": PROCESSES, "batch_size": 3}  # 2 scans and 1


def train_together(folder: Path, settings, stop_rank: int | None = None, stop_at: int | None = None) -> list[int]:
    """Train in processes that meet as torchrun's do; one of them may be told to stop. Returns their exit codes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(PROCESSES)}
    processes = [
        started(
            folder,
            settings,
            environment=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stop_at=stop_at if rank == stop_rank else None,
        )
        for rank in range(PROCESSES)
    ]
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def test_two_processes_under_torchrun_have_the_loss_curve_of_one(tmp_path):
    calm = SETTINGS | {"learning_rate": 0.001}  # AdamW divides by the gradient's size: large steps magnify rounding
    settings = toy_settings(**calm)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={PROCESSES}"]
    command += [toy_training.__file__, str(tmp_path), json.dumps(settings.as_dict())]
    completed = subprocess.run(command, capture_output=True, text=True)
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.count("epoch 1/3") == 1, "the first process alone reports"
    assert "Warning" not in completed.stderr
    alone = run(tmp_path, toy_settings(**calm | {"processes": 1}), "alone.pt")
    _, history = result_of(tmp_path)
    for ours, theirs in zip(history, alone.history, strict=True):
        assert vars(ours) == pytest.approx(vars(theirs), rel=1e-5)


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_stop_of_one_process_stops_both_and_they_go_on_to_the_same_weights(tmp_path, norm):
    settings = toy_settings(**SETTINGS | {"norm": norm, "dropout": 0.2})
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train_together(whole, settings) == [0, 0]
    assert train_together(cut, settings, stop_rank=1, stop_at=5) == [INTERRUPTED_EXIT_CODE] * 2
    assert (cut / CHECKPOINT).exists() and not (cut / WEIGHTS_HASH).exists()
    assert train_together(cut, settings) == [0, 0]
    assert result_of(cut) == result_of(whole)


def test_number_of_processes_is_that_of_the_settings(tmp_path):
    with pytest.raises(
        InputError, match=r"`processes` is 2 and this training was started with 1: .*--nproc-per-node=2"
    ):
        run(tmp_path, toy_settings(processes=2))


def test_first_process_writes(monkeypatch):
    assert is_main_process()
    monkeypatch.setitem(os.environ, "RANK", "1")
    assert not is_main_process()


def test_single_process_needs_no_other():
    with joined(1, CPU) as processes:
        assert (
            processes.is_main_process
            and processes.most(2) == 2
            and processes.gather("a") == ["a"]
            and processes.total(1.5) == 1.5
        )


def test_two_processes_choose_the_epoch_together_and_try_another_seed_together(tmp_path):
    idle = {"learning_rate": 1e-12, "warm_up": 0.0, "epochs": 2, "fold": 1, "retrain": 1}
    settings = toy_settings("classification", **SETTINGS | idle)
    assert train_together(tmp_path, settings) == [0, 0]
    assert attempt_file(tmp_path / CHECKPOINT, 1).exists() and attempt_file(tmp_path / CHECKPOINT, 2).exists()
    alone = run(tmp_path, toy_settings("classification", **SETTINGS | idle | {"processes": 1}), "alone.pt")
    _, history = result_of(tmp_path)
    for ours, theirs in zip(history, alone.history, strict=True):
        assert vars(ours) == pytest.approx(vars(theirs), rel=1e-4)
