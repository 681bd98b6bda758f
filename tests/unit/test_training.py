"""Training learns what is there to learn, chooses its epoch on the validation part, and depends on its seed alone."""

import io
import json

import numpy as np
import pandas as pd
import pytest
import torch
from neurocohort import progress
from neurocohort.errors import InputError
from neurocohort.files import read_json
from neurocohort.learning import loop
from neurocohort.learning.data import PackedImages
from neurocohort.learning.inference import predict
from neurocohort.learning.loop import TrainingFiles
from neurocohort.learning.model_files import read_model, read_run, write_model
from neurocohort.learning.networks import build_network, copied_weights
from neurocohort.learning.precision import choose_precision
from neurocohort.learning.prediction_tables import reference_labels
from neurocohort.learning.schedule import schedule_at
from neurocohort.learning.tasks import task_values
from neurocohort.learning.training import network_of, parts_of, train
from toy_training import CPU, run, toy_cohort, toy_settings, weights_hash


def silent(line: str) -> None:
    pass


def written(folder, settings, **options):
    """The model that a training leaves, read again."""
    trained = run(folder, settings, **options)
    write_model(folder / "model", trained, settings, CPU)
    return read_model(folder / "model", CPU)


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_network_learns_what_is_there_to_learn(tmp_path, task):
    settings = toy_settings(task, epochs=25, learning_rate=0.02, dropout=0.0, soft_bins=False)
    model = written(tmp_path, settings)
    samples, packed = toy_cohort(task)
    held_out = samples[samples["part"] == "held-out"].reset_index(drop=True)
    predicted = predict(model, held_out, packed)
    target = held_out["target"].to_numpy()
    if task == "regression":
        assert np.abs(predicted - target).mean() < 0.5 * np.abs(samples["target"].mean() - target).mean()
    else:
        assert (predicted.argmax(1) == target).all()


def test_segmentation_network_finds_the_labels(tmp_path):
    model = written(tmp_path, toy_settings("segmentation", epochs=10, batch_size=2))
    samples, packed = toy_cohort("segmentation")
    found = predict(model, samples.tail(3), packed, tmp_path / "probabilities.npy")
    truth = np.stack(list(reference_labels(samples.tail(3), packed)))
    assert (found.argmax(1) == truth).mean() > 0.95


def test_same_seed_same_weights_other_seed_others(tmp_path):
    first, second, other = (
        run(tmp_path, toy_settings("classification", seed=seed, epochs=1), f"{i}.pt")
        for i, seed in enumerate((1, 1, 2))
    )
    assert weights_hash(first.weights) == weights_hash(second.weights) != weights_hash(other.weights)
    assert first.history == second.history


def test_held_out_volumes_need_not_be_there_in_training(tmp_path):
    samples, packed = toy_cohort("regression")
    development = {key for key in packed.images if key[1] == "development"}
    kept = [{key: of[key] for key in development} for of in (packed.images, packed.labels, packed.channels)]
    changed = samples.assign(target=samples["target"].where(samples["part"] != "held-out", 1e9))
    files = [TrainingFiles(tmp_path / name) for name in ("a.pt", "b.pt")]
    whole = train(samples, packed, toy_settings(epochs=1), CPU, files[0], silent)
    alone = train(changed, PackedImages(*kept), toy_settings(epochs=1), CPU, files[1], silent)
    assert weights_hash(whole.weights) == weights_hash(alone.weights)


def smoothed_by_epoch(values: list[float]) -> dict[int, float]:
    """By epoch that can be kept, the mean of its value and the four before."""
    return {end: float(np.mean(values[end - 5 : end])) for end in range(5, len(values) + 1)}


def test_best_epoch_is_chosen_on_validation_and_patience_ends_early(tmp_path):
    trained = run(tmp_path, toy_settings(epochs=40, patience=3, learning_rate=0.1))
    smoothed = smoothed_by_epoch([entry.criterion for entry in trained.history])
    assert trained.best_epoch == min(smoothed, key=smoothed.get)
    assert trained.criterion == pytest.approx(min(smoothed.values()))
    assert [entry.epoch for entry in trained.history if entry.best] == [trained.best_epoch]
    assert len(trained.history) == trained.best_epoch + 3 < 40


def closed_epochs(tmp_path, monkeypatch, losses: list[float], **changes):
    """A training whose validation losses are ``losses``, as the validation part might have them."""
    given = iter(losses)

    def validate(self, batches, count):
        value = next(given)
        return value, value

    monkeypatch.setattr(loop.Loop, "validate", validate)
    return run(tmp_path, toy_settings(epochs=len(losses), **changes))


def test_lucky_untrained_network_is_not_the_best_epoch(tmp_path, monkeypatch):
    trained = closed_epochs(tmp_path, monkeypatch, [0.4, 0.9, 0.9, 0.9, 0.9, 0.7, 0.6, 0.5])
    assert trained.best_epoch == 8, "epoch 1 alone has the smallest loss, and no mean of five to compare with"
    assert trained.criterion == trained.validation_loss == pytest.approx(np.mean([0.9, 0.9, 0.7, 0.6, 0.5]))


def test_epochs_fewer_than_the_window_are_averaged_whole(tmp_path, monkeypatch):
    trained = closed_epochs(tmp_path, monkeypatch, [0.1, 0.9, 0.9])
    assert (trained.best_epoch, trained.judgement.edge) == (3, ""), "no other epoch could have been kept"


def test_patience_counts_from_the_first_epoch_that_could_be_kept(tmp_path, monkeypatch):
    trained = closed_epochs(tmp_path, monkeypatch, [0.1, *[0.5] * 4, *[0.9] * 15], patience=2)
    assert (trained.best_epoch, len(trained.history), trained.judgement.edge) == (5, 7, "first")


def test_first_and_last_epochs_are_noted_in_the_log_and_the_record(tmp_path, monkeypatch):
    lines = []
    given = iter([*[0.1] * 5, *[0.9] * 5])
    monkeypatch.setattr(loop.Loop, "validate", lambda self, batches, count: (next(given),) * 2)
    settings = toy_settings(epochs=10)
    trained = run(tmp_path, settings, report=lines.append)
    assert lines[-1].startswith("warning: epoch 5, the first that could be kept, was the best of 10")
    write_model(tmp_path / "model", trained, settings, CPU)
    assert read_json(tmp_path / "model" / "run.json")["learning"]["edge"] == "first"
    middle = closed_epochs(tmp_path / "other", monkeypatch, [*[0.9] * 5, *[0.1] * 5, *[0.9] * 3])
    assert (middle.best_epoch, middle.judgement.edge) == (10, "")


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_last_weights_are_kept_where_the_settings_say_so(tmp_path, monkeypatch, task):
    epochs, original = [], loop.Loop.close_epoch

    def watched(self, *measured):
        epochs.append(copied_weights(self.network))
        return original(self, *measured)

    monkeypatch.setattr(loop.Loop, "close_epoch", watched)
    last = run(tmp_path, toy_settings(task, epochs=7, keep="last"), "last.pt")
    assert last.best_epoch == 7 and last.judgement.edge == "" and last.history[-1].best == 1
    assert weights_hash(last.weights) == weights_hash(epochs[-1])
    averaged = run(tmp_path, toy_settings(task, epochs=7, keep="averaged"), "averaged.pt")
    assert averaged.best_epoch == 7 and averaged.criterion == pytest.approx(last.criterion)
    for name, tensor in averaged.weights.items():
        assert tensor.dtype == epochs[-1][name].dtype
        if tensor.is_floating_point():
            expected = torch.stack([weights[name] for weights in epochs[-5:]]).mean(dim=0)
            torch.testing.assert_close(tensor, expected, rtol=1e-4, atol=1e-6)


def test_each_fold_validates_its_own_rows():
    samples, _ = toy_cohort("regression")
    development = set(samples.loc[samples["part"] != "held-out", "scan_id"])
    validated = []
    for fold in (1, 2, 3):
        training, validation = parts_of(samples, fold)
        assert set(validation["fold"]) == {fold} and fold not in set(training["fold"])
        assert set(training["scan_id"]) | set(validation["scan_id"]) == development
        validated += list(validation["scan_id"])
    assert sorted(validated) == sorted(development)
    training, validation = parts_of(samples, 0)
    assert set(training["part"]) == {"train"} and set(validation["part"]) == {"validation"}


def test_part_without_a_sample_is_told():
    samples, _ = toy_cohort("regression")
    with pytest.raises(InputError, match=r"the split leaves no sample to validate on, of 15"):
        parts_of(samples[samples["part"] != "validation"], 0)
    with pytest.raises(InputError, match=r"fold 4 leaves no sample to validate on"):
        parts_of(samples, 4)


def test_diverged_training_leaves_the_weights_that_it_started_from(tmp_path):
    settings = toy_settings(epochs=9, learning_rate=1e30, gradient_clip=0.0, warm_up=0.0, soft_bins=False)
    possible = settings.model_copy(update={"learning_rate": 1.0, "gradient_clip": 1.0})  # what a run.json may have
    write_model(tmp_path / "model", run(tmp_path, settings), possible, CPU)
    network, record = read_model(tmp_path / "model", CPU).network, read_run(tmp_path / "model")
    assert all(torch.isfinite(tensor).all() for tensor in network.state_dict().values())
    assert record["best_epoch"] == 0 and record["learning"]["learned"] is False


def test_diverged_control_ends_and_its_model_says_so(tmp_path):
    settings = toy_settings(epochs=9, learning_rate=1e30, gradient_clip=0.0, warm_up=0.0, soft_bins=False, judged=False)
    trained = run(tmp_path, settings)
    assert len(trained.history) < 9 and trained.validation_loss is None and trained.best_epoch is None
    write_model(tmp_path / "model", trained, settings, CPU)
    assert json.loads((tmp_path / "model" / "run.json").read_text())["validation_loss"] is None
    with pytest.raises(InputError, match="without a finite validation loss"):
        read_model(tmp_path / "model", CPU)


def test_run_record_tells_how_it_was_trained(tmp_path):
    settings = toy_settings(epochs=2)
    fitted, record = written(tmp_path, settings).task, read_run(tmp_path / "model")
    assert record["settings"] == json.loads(json.dumps(settings.as_dict()))
    assert record["task"] == json.loads(json.dumps(task_values(fitted)))
    assert record["epochs_run"] == 2 and record["best_epoch"] in (1, 2) and record["validation_loss"] > 0
    assert (record["precision"], record["memory"], record["device"]) == ("float32", "resident", "cpu")
    assert record["training_seconds"] > 0 and record["scans_per_second"] > 0
    history = pd.read_csv(tmp_path / "model" / "history.tsv", sep="\t")
    assert list(history.columns) == ["epoch", "train_loss", "validation_loss", "criterion", "learning_rate", "best"]


def test_model_of_other_settings_is_refused(tmp_path):
    written(tmp_path, toy_settings(epochs=1))
    path = tmp_path / "model" / "run.json"
    path.write_text(path.read_text().replace('"network": "sfcn"', '"network": "resnet18"'))
    with pytest.raises(InputError, match="don't fit the network"):
        read_model(tmp_path / "model", CPU)


@pytest.mark.parametrize(("name", "channels"), [("dynunet", [4, 8, 8]), ("segresnet", [8])])
def test_model_of_each_segmentation_network_is_read_as_it_was_written(tmp_path, name, channels):
    settings = toy_settings("segmentation", network=name, channels=channels, epochs=1, batch_size=6)
    trained = run(tmp_path, settings)
    write_model(tmp_path / "model", trained, settings, CPU)
    network = read_model(tmp_path / "model", CPU).network
    own = network.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in trained.weights.items())
    assert len({tensor.data_ptr() for tensor in own.values()}) == len(trained.weights)


@pytest.mark.parametrize("name", ["densenet121", "resnet18"])
def test_value_networks_of_monai_train_with_a_plain_head(tmp_path, name):
    settings = toy_settings(network=name, channels=[], epochs=1, batch_size=6, augmentation=toy_settings().augmentation)
    samples, packed = toy_cohort("regression", count=6)
    grown = {key: np.repeat(np.repeat(np.repeat(v, 2, 2), 2, 3), 2, 4) for key, v in packed.images.items()}
    packed = PackedImages(grown, packed.labels, packed.channels)
    trained = train(samples, packed, settings, CPU, TrainingFiles(tmp_path / "c.pt"), silent)
    assert trained.task.outputs == 1 and np.isfinite(trained.validation_loss)


@pytest.mark.parametrize("name", ["sfcn", "densenet121", "resnet18"])
def test_value_networks_return_one_row_a_scan(name):
    network = build_network(name, None if name != "sfcn" else [4, 8, 8], 1).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 1, 64, 64, 64)).shape == (2, 1)


@pytest.mark.parametrize(("name", "channels"), [("unet", [4, 8]), ("dynunet", [4, 8, 8]), ("segresnet", [8])])
def test_segmentation_networks_keep_the_grid(name, channels):
    network = build_network(name, channels, 4).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 32, 32, 32)).shape == (1, 4, 32, 32, 32)


def test_one_cycle_is_that_of_torch():
    settings, steps = toy_settings(learning_rate=0.02, warm_up=0.3), 40
    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.02)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.02, total_steps=steps, pct_start=0.3)
    for step in range(steps):
        group, ours = optimiser.param_groups[0], schedule_at(settings, step, steps)
        assert ours.rate == pytest.approx(group["lr"], rel=1e-9) and ours.momentum == pytest.approx(group["betas"][0])
        optimiser.step()
        if step < steps - 1:
            theirs.step()


@pytest.mark.parametrize("warm_up", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("schedule", ["one_cycle", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 10, 37])
def test_schedules_rise_once_and_fall_once(schedule, warm_up, steps):
    settings = toy_settings(schedule=schedule, warm_up=warm_up, learning_rate=1.0)
    rates = [schedule_at(settings, step, steps).rate for step in range(steps)]
    peak = int(np.argmax(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert np.all(np.diff(rates[: peak + 1]) > 0) and np.all(np.diff(rates[peak:]) < 0)
    assert peak <= warm_up * steps + 1


def test_gradients_are_clipped_to_the_limit(tmp_path, monkeypatch):
    norms, original = [], torch.optim.AdamW.step

    def measured(self, *arguments, **options):
        gradients = [parameter.grad for parameter in self.param_groups[0]["params"]]
        norms.append(float(torch.linalg.vector_norm(torch.stack([gradient.norm() for gradient in gradients]))))
        return original(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", measured)
    run(tmp_path, toy_settings(epochs=1, gradient_clip=0.01), "clipped.pt")
    run(tmp_path, toy_settings(epochs=1, gradient_clip=0.0), "free.pt")
    assert max(norms[:3]) <= 0.01 * 1.001 and min(norms[3:]) > 0.01


def test_float16_on_a_cpu_is_refused_and_bfloat16_is_not(tmp_path):
    with pytest.raises(InputError, match="`precision: float16` was asked for on a CPU"):
        run(tmp_path, toy_settings(precision="float16"))
    assert choose_precision(toy_settings(), CPU).name == "float32"
    settings = toy_settings(precision="bfloat16", epochs=1, batch_size=6)
    assert np.isfinite(run(tmp_path, settings).validation_loss)


def test_compiled_network_has_the_same_weights_by_name(tmp_path, monkeypatch):
    compiled, original = [], torch.compile

    def graph_alone(module, **options):
        compiled.append(module)
        return original(module, backend="eager", **options)  # the graph is captured; code for it would need a compiler

    monkeypatch.setattr(torch, "compile", graph_alone)
    fast = run(tmp_path, toy_settings(epochs=1, compile=True), "compiled.pt")
    plain = run(tmp_path, toy_settings(epochs=1), "plain.pt")
    assert compiled and weights_hash(fast.weights) == weights_hash(plain.weights)


def test_tensorboard_shows_an_interrupted_training_once(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trained = run(tmp_path, toy_settings(epochs=2), events=tmp_path / "events")
    again = run(tmp_path, toy_settings(epochs=2), "other.pt", events=tmp_path / "events")  # in the same folder
    shown = EventAccumulator(str(tmp_path / "events")).Reload()
    points = [(point.step, point.value) for point in shown.Scalars("loss/validation")]
    assert points == [(e.epoch, pytest.approx(e.validation_loss, rel=1e-6)) for e in again.history]
    assert trained.history == again.history


def test_progress_is_a_bar_on_a_terminal_and_one_line_an_epoch_elsewhere(tmp_path, monkeypatch, capsys):
    lines = []
    run(tmp_path, toy_settings(epochs=2), "log.pt", report=lines.append)
    assert [line.split("  ")[0] for line in lines[:2]] == ["epoch 1/2", "epoch 2/2"]
    assert not any(line.startswith("epoch") for line in lines[2:]), "what follows is about the whole training"
    assert capsys.readouterr() == ("", "")
    terminal = io.StringIO()
    monkeypatch.setattr(progress, "terminal_stream", lambda: terminal)
    run(tmp_path, toy_settings(epochs=2), "terminal.pt")
    assert "epoch 2/2" in terminal.getvalue() and "/3" in terminal.getvalue()


def test_network_has_the_inputs_and_outputs_of_its_settings():
    settings = toy_settings(modalities=["T1w", "T2w"], classes=3)
    network = network_of(settings, type("Three", (), {"outputs": 3})())
    assert network(torch.zeros(1, 2, 16, 16, 16)).shape == (1, 3)
