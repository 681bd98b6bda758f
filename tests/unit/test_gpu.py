"""What only a GPU shows: its precisions, data that lie on it, and a resume there."""

import numpy as np
import pytest
import torch
from neurocohort.device import choose_device
from neurocohort.learning.checkpoint import Interrupted, load_checkpoint
from neurocohort.learning.loop import Loop, TrainingFiles
from neurocohort.learning.model_files import read_model, read_run, write_model
from neurocohort.learning.precision import choose_precision
from neurocohort.learning.training import train
from toy_training import CHECKPOINT, CPU, run, stopped_at_step, toy_cohort, toy_settings, weights_hash

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
CUDA = torch.device("cuda")


def run_there(folder, settings, name=CHECKPOINT):
    samples, packed = toy_cohort(settings.task)
    return train(samples, packed, settings, CUDA, TrainingFiles(folder / name), lambda line: None)


def test_gpu_is_taken_where_there_is_one():
    assert choose_device("auto").type == choose_device("cuda").type == "cuda"


@pytest.mark.parametrize("task", ["regression", "classification", "segmentation"])
@pytest.mark.parametrize("precision", ["auto", "float32", "float16"])
def test_each_task_learns_in_each_precision(tmp_path, task, precision):
    trained = run_there(tmp_path, toy_settings(task, precision=precision, epochs=4))
    losses = [entry.train_loss for entry in trained.history]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    assert all(tensor.device == CPU and tensor.is_contiguous() for tensor in trained.weights.values())


def test_auto_is_bfloat16_where_the_gpu_computes_in_it():
    has = torch.cuda.is_bf16_supported(including_emulation=False)
    assert choose_precision(toy_settings(), CUDA).name == ("bfloat16" if has else "float16")


def test_float32_is_what_the_cpu_computes(tmp_path):
    settings = toy_settings(precision="float32", dropout=0.0, norm="group", epochs=2)
    there, here = run_there(tmp_path, settings, "there.pt"), run(tmp_path, settings, "here.pt")
    for ours, theirs in zip(there.history, here.history, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-2)


def test_resident_and_streamed_volumes_train_alike(tmp_path):
    settings = {"precision": "float32", "dropout": 0.0, "epochs": 2}
    resident = run_there(tmp_path, toy_settings(memory="resident", **settings), "resident.pt")
    streamed = run_there(tmp_path, toy_settings(memory="streamed", workers=2, **settings), "streamed.pt")
    for one, other in zip(resident.history, streamed.history, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-3)


def test_scaler_of_float16_is_in_the_checkpoint_and_goes_on(tmp_path):
    settings = toy_settings(precision="float16")
    with stopped_at_step(5), pytest.raises(Interrupted):
        run_there(tmp_path, settings)
    saved = load_checkpoint(tmp_path / CHECKPOINT)
    assert saved["scaler"]["scale"] > 0 and "cuda" in saved["processes"][0]["generators"]
    assert len(run_there(tmp_path, settings).history) == settings.epochs


def test_steps_do_not_wait_for_the_gpu(tmp_path, monkeypatch):
    original = Loop._step

    def watched(self, batch, epoch, step):
        torch.cuda.set_sync_debug_mode("error" if step else "default")  # the first step sets the optimiser up
        try:
            original(self, batch, epoch, step)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Loop, "_step", watched)
    assert len(run_there(tmp_path, toy_settings(epochs=1)).history) == 1


def test_compiled_network_trains_and_keeps_its_names(tmp_path):
    compiled = run_there(tmp_path, toy_settings(compile=True, epochs=1), "compiled.pt")
    assert set(compiled.weights) == set(run_there(tmp_path, toy_settings(epochs=1), "plain.pt").weights)


def test_model_trained_there_is_used_here(tmp_path):
    settings = toy_settings(epochs=1)
    trained = run_there(tmp_path, settings)
    write_model(tmp_path / "model", trained, settings, CUDA)
    network, record = read_model(tmp_path / "model", CPU).network, read_run(tmp_path / "model")
    assert record["device"] == torch.cuda.get_device_name() and not network.training
    assert weights_hash(trained.weights) == weights_hash({n: network.state_dict()[n] for n in trained.weights})
