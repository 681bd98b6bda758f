"""A training that is killed or stopped anywhere goes on where it was and ends with the very bits of one that wasn't.

NEUROCOHORT_KILLS and NEUROCOHORT_TERMS set how many random moments of kill -9 and of SIGTERM are tried.
"""

import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from neurocohort.errors import InputError, StorageFailed
from neurocohort.learning.checkpoint import (
    INTERRUPTED_EXIT_CODE,
    Interrupted,
    StopRequest,
    checkpoint_seconds,
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
)
from safetensors.torch import save_file
from toy_training import CHECKPOINT, WEIGHTS_HASH, result_of, run, started, stopped_at_step, toy_settings, weights_hash

KILLS = int(os.environ.get("NEUROCOHORT_KILLS", "3"))
TERMS = int(os.environ.get("NEUROCOHORT_TERMS", "2"))
SHORTER = 0.8  # the next moment is sought in a shorter span where a training was over before its moment came
IN_PROCESSES = toy_settings(epochs=6)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[tuple[str, list[dict]], float]:
    """What a training that nobody disturbs leaves, and the seconds that it takes from its first step on."""
    folder = tmp_path_factory.mktemp("undisturbed")
    process = after_first_step(folder)
    began = time.monotonic()
    process.join()
    return result_of(folder), time.monotonic() - began


def after_first_step(folder: Path) -> BaseProcess:
    process = started(folder, IN_PROCESSES)
    while not (folder / CHECKPOINT).exists() and process.is_alive():
        time.sleep(0.002)
    return process


def finish(folder: Path) -> None:
    process = started(folder, IN_PROCESSES)
    process.join()
    assert process.exitcode == 0


def disturbed_at_random(folder: Path, span_s: float, number: signal.Signals) -> tuple[float, int]:
    """Send the signal to a training that has taken its first step, at a random moment of the next ``span_s`` or less.

    Returns the moment and the exit code. Trainings that are over before are not counted, and others take their place.
    """
    for attempt in range(1000):
        place = folder / str(attempt)
        process, moment = after_first_step(place), random.uniform(0, span_s)
        process.join(moment)
        if process.is_alive():
            os.kill(process.pid, number)
            process.join()
        if process.exitcode != 0:
            for file in place.iterdir():
                file.rename(folder / file.name)
            return moment, process.exitcode
        span_s *= SHORTER
    raise AssertionError("no training lasted until its signal")


@pytest.mark.parametrize("attempt", range(KILLS))
def test_training_killed_at_any_moment_ends_with_the_same_weights(tmp_path, undisturbed, attempt):
    whole, seconds = undisturbed
    moment, code = disturbed_at_random(tmp_path, seconds, signal.SIGKILL)
    assert code == -signal.SIGKILL and not (tmp_path / WEIGHTS_HASH).exists()
    finish(tmp_path)
    assert result_of(tmp_path) == whole, f"killed {moment:.3f} s after the first step"


@pytest.mark.parametrize("attempt", range(TERMS))
def test_training_told_to_stop_exits_with_its_own_code_and_ends_with_the_same_weights(tmp_path, undisturbed, attempt):
    whole, seconds = undisturbed
    moment, code = disturbed_at_random(tmp_path, seconds, signal.SIGTERM)
    assert code == INTERRUPTED_EXIT_CODE and (tmp_path / CHECKPOINT).exists()
    finish(tmp_path)
    assert result_of(tmp_path) == whole, f"stopped {moment:.3f} s after the first step"


def interrupted_and_resumed(folder: Path, settings, stop_after: int):
    with stopped_at_step(stop_after), pytest.raises(Interrupted):
        run(folder, settings, "cut.pt")
    return run(folder, settings, "cut.pt")


@pytest.mark.parametrize("stop_after", [1, 3, 5])
@pytest.mark.parametrize("schedule", ["one_cycle", "cosine"])
def test_schedules_and_dropout_go_on_where_they_were(tmp_path, schedule, stop_after):
    settings = toy_settings(schedule=schedule, dropout=0.5, epochs=2, workers=stop_after % 2)
    whole = run(tmp_path, settings, "whole.pt")
    resumed = interrupted_and_resumed(tmp_path, settings, stop_after)
    assert weights_hash(resumed.weights) == weights_hash(whole.weights)
    assert resumed.history == whole.history


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_each_task_resumes(tmp_path, task):
    settings = toy_settings(task, epochs=2)
    whole = run(tmp_path, settings, "whole.pt")
    assert weights_hash(interrupted_and_resumed(tmp_path, settings, 4).weights) == weights_hash(whole.weights)


@pytest.mark.parametrize("keep", ["last", "averaged", "ema"])
@pytest.mark.parametrize("stop_after", [7, 11, 19])
def test_weights_that_are_kept_are_the_same_after_an_interruption(tmp_path, keep, stop_after):
    settings = toy_settings(
        epochs=7, keep=keep, balance_sites=keep == "ema"
    )  # three steps an epoch, the last five of which are averaged
    whole = run(tmp_path, settings, "whole.pt")
    resumed = interrupted_and_resumed(tmp_path, settings, stop_after)
    assert weights_hash(resumed.weights) == weights_hash(whole.weights) and resumed.history == whole.history


@pytest.mark.parametrize("stop_after", [3, 4, 8])
def test_half_thawed_network_resumes(tmp_path, stop_after):
    save_file(run(tmp_path, toy_settings(epochs=1), "first.pt").weights, tmp_path / "first.safetensors")
    settings = toy_settings(weights=str(tmp_path / "first.safetensors"), frozen_epochs=1, thaw_epochs=1)
    whole = run(tmp_path, settings, "whole.pt")
    assert weights_hash(interrupted_and_resumed(tmp_path, settings, stop_after).weights) == weights_hash(whole.weights)


def test_early_stopping_counts_over_an_interruption(tmp_path):
    settings = toy_settings(epochs=40, patience=3, learning_rate=0.1)
    whole = run(tmp_path, settings, "whole.pt")
    resumed = interrupted_and_resumed(tmp_path, settings, 3 * len(whole.history) - 4)
    assert len(whole.history) < 40 and resumed.history == whole.history


def test_history_of_a_resumed_training_is_told_once_an_epoch(tmp_path):
    lines = []
    with stopped_at_step(5), pytest.raises(Interrupted):
        run(tmp_path, toy_settings(), report=lines.append)
    run(tmp_path, toy_settings(), report=lines.append)
    assert [line.split()[0] for line in lines[:4]] == ["epoch", "continuing", "epoch", "epoch"]
    assert not any(line.startswith("epoch") for line in lines[4:])
    assert lines[1].endswith("epoch 2, step 3")


def test_second_signal_is_the_same_as_one():
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.received
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.999])
def test_truncated_checkpoint_is_set_aside_and_training_starts_over(tmp_path, share):
    settings, lines = toy_settings(epochs=2), []
    whole = run(tmp_path, settings, "whole.pt")
    with stopped_at_step(4), pytest.raises(Interrupted):
        run(tmp_path, settings)
    content = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(content[: int(share * len(content))])
    again = run(tmp_path, settings, report=lines.append)
    assert weights_hash(again.weights) == weights_hash(whole.weights)
    assert "can't be read" in lines[0] and "starts over" in lines[0] and "\n" not in lines[0]
    assert (tmp_path / f"{CHECKPOINT}.unreadable").is_file()


def test_checkpoint_that_would_run_code_is_not_read(tmp_path):
    torch.save({"state": Path("x")}, tmp_path / CHECKPOINT)  # any object but tensors and plain values
    lines = []
    assert load_checkpoint(tmp_path / CHECKPOINT, lines.append) is None
    assert len(lines) == 1


def test_failed_save_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / CHECKPOINT, {"step": 1})

    def full_disk(state, file):
        Path(file).write_bytes(b"half")
        raise RuntimeError("No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(StorageFailed, match="the disk is full"):
        save_checkpoint(tmp_path / CHECKPOINT, {"step": 2})
    assert load_checkpoint(tmp_path / CHECKPOINT) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == [CHECKPOINT]


def test_nothing_is_left_of_a_finished_training(tmp_path):
    save_checkpoint(tmp_path / CHECKPOINT, {"step": 1})
    (tmp_path / f".123.{CHECKPOINT}").write_text("half")
    (tmp_path / f"{CHECKPOINT}.unreadable").write_text("half")
    (tmp_path / "other.pt").write_text("of another training")
    remove_checkpoint(tmp_path / CHECKPOINT)
    assert [file.name for file in tmp_path.iterdir()] == ["other.pt"]


def test_checkpoint_holds_all_that_the_training_needs(tmp_path):
    with stopped_at_step(4), pytest.raises(Interrupted):
        run(tmp_path, toy_settings())
    saved = load_checkpoint(tmp_path / CHECKPOINT)
    assert set(saved) == {"weights", "optimiser", "scaler", "state", "processes"}
    assert {"epoch", "step", "history", "kept", "averaged", "best_criterion", "best_epoch"} <= set(saved["state"])
    assert (saved["state"]["epoch"], saved["state"]["step"]) == (1, 1)
    assert set(saved["processes"][0]) == {"loss_sum", "generators"}


@pytest.mark.parametrize("given", ["often", "nan", "-1", "inf"])
def test_seconds_between_checkpoints_that_are_no_number_end_in_a_sentence(monkeypatch, given):
    monkeypatch.setenv("NEUROCOHORT_CHECKPOINT_SECONDS", given)
    with pytest.raises(InputError, match=f"NEUROCOHORT_CHECKPOINT_SECONDS is '{given}'; expected a number of seconds"):
        checkpoint_seconds()
