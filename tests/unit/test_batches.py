"""Batches hold what samples.tsv says, in an order and with changes that neither threads, memory nor processes alter."""

import itertools
import shutil
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from neurocohort.dataset.pack_index import COLUMNS, index_table, row_sha256
from neurocohort.errors import InputError
from neurocohort.files import read_table, write_table
from neurocohort.learning import batches, memory
from neurocohort.learning.augmentation import AugmentationParameters
from neurocohort.learning.batches import BatchSource, TrainingBatches, ahead, evaluation_batches
from neurocohort.learning.data import Intensity, intensity_statistics, open_packed, packed_folders, to_input
from neurocohort.learning.prediction_tables import reference_labels
from neurocohort.learning.settings import Augmentation, TrainingSettings
from neurocohort.learning.tasks import Regression, Segmentation, Task

CPU = torch.device("cpu")
VALUES = Regression(soft_bins=False, low=0.0, high=0.0, mean=0.0, scale=1.0)
SHAPE = (35, 37, 39)  # more voxels than torch gives to one thread, and no side a multiple of a vector
INTENSITY = Intensity([100.0, 60.0], [40.0, 20.0])
STILL = Augmentation(
    flip=False, rotation_degrees=0, shift=0, scale=0, log_gamma=0, bias_field=0, noise=0, blur_voxels=0
)
SETTINGS = TrainingSettings(
    task="regression",
    network="sfcn",
    modalities=["T1w", "T2w"],
    batch_size=3,
    seed=3,
    workers=0,
    memory="resident",
    augmentation=Augmentation(bias_field=0.1, blur_voxels=0.5),
)


def write_index(folder: Path, names: list[str]) -> None:
    """The index of the arrays in ``folder``."""
    arrays = [np.load(folder / f"{name}.npy") for name in ("images", "labels")]
    rows = []
    for row, name in enumerate(names):
        hashes = (row_sha256(name, array[row]) for array in arrays)
        rows.append(dict(zip(COLUMNS, (row, name, 1, *hashes), strict=True)))
    write_table(folder / "index.tsv", index_table(rows))


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """Two cohorts' packs. A ball on the left is a scan's brain; T1w is brighter with the row, T2w darker."""
    folder = tmp_path_factory.mktemp("results")
    place = np.stack(np.meshgrid(*[np.linspace(-1, 1, side) for side in SHAPE], indexing="ij"))
    ball = ((place + np.array([0.3, 0, 0])[:, None, None, None]) ** 2).sum(axis=0) < 0.3
    for cohort, pack, count, modalities in (
        ("a", "development", 6, ("T1w", "T2w")),
        ("a", "held-out", 2, ("T1w", "T2w")),
        ("b", "development", 3, ("T2w", "FLAIR", "T1w")),
    ):
        texture = np.random.default_rng(len(modalities)).integers(0, 20, (count, len(modalities), *SHAPE))
        base = {"T1w": 100 + 10 * np.arange(count), "T2w": 90 - 5 * np.arange(count), "FLAIR": np.full(count, 250)}
        levels = np.stack([base[modality] for modality in modalities], axis=1)[..., None, None, None] + texture % 5
        target = folder / cohort / "packed" / pack
        target.mkdir(parents=True)
        np.save(target / "images.npy", (levels * ball).astype(np.uint8))
        np.save(target / "labels.npy", np.stack([ball * (1 + row % 3) for row in range(count)]).astype(np.uint8))
        write_index(target, [f"{cohort}-{row}" for row in range(count)])
        write_table(target / "channels.tsv", pd.DataFrame({"channel": range(len(modalities)), "modality": modalities}))
    return folder


def rows(*wanted: tuple[str, str, int]) -> pd.DataFrame:
    table = pd.DataFrame(wanted, columns=["cohort", "pack", "row"])
    names = [f"{cohort}-{row}" for cohort, _, row in wanted]
    return table.assign(scan_id=names, target=[20.0 + 3 * index for index in range(len(table))])


TRAIN = rows(*[("a", "development", row) for row in (4, 0, 2, 5)], *[("b", "development", row) for row in (2, 0, 1)])


def loader(results, samples=TRAIN, task: Task = VALUES, rank: int = 0, **changes) -> TrainingBatches:
    settings = SETTINGS.model_copy(update=changes)
    packed = open_packed(packed_folders(samples, results), settings.modalities)
    return TrainingBatches(samples, BatchSource(packed, task, settings, INTENSITY, CPU), rank)


def epoch(loader: TrainingBatches, number: int = 0, first_step: int = 0) -> list:
    return list(loader.epoch(number, first_step))


def same(first: list, second: list) -> bool:
    return len(first) == len(second) and all(
        torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets) and one.count == other.count
        for one, other in zip(first, second, strict=True)
    )


def threads_of_batches() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


@pytest.mark.parametrize("task", [VALUES, Segmentation()], ids=["regression", "segmentation"])
def test_workers_memory_and_threads_change_no_bit(results, task):
    patch = {"patch": [33, 34, 35]} if isinstance(task, Segmentation) else {}
    expected = epoch(loader(results, task=task, **patch), 1)
    before = torch.get_num_threads()
    try:
        for workers, kept, threads in itertools.product((0, 1, 2), ("resident", "streamed"), (1, 2)):
            torch.set_num_threads(threads)
            found = epoch(loader(results, task=task, workers=workers, memory=kept, **patch), 1)
            assert same(found, expected), (workers, kept, threads)
    finally:
        torch.set_num_threads(before)


def test_epoch_taken_up_at_a_step_goes_on_with_the_same_batches(results):
    whole = epoch(loader(results, batch_size=2))
    assert len(whole) == 4
    for first in range(5):
        assert same(epoch(loader(results, batch_size=2, workers=1), 0, first), whole[first:])


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_divide_each_batch_and_together_weigh_as_one(results, processes):
    whole = epoch(loader(results, batch_size=4))
    ranks = [epoch(loader(results, batch_size=4, processes=processes, rank=rank)) for rank in range(processes)]
    for batch, *parts in zip(whole, *ranks, strict=True):
        assert torch.equal(torch.cat([part.inputs for part in parts]), batch.inputs)
        assert torch.equal(torch.cat([part.targets for part in parts]), batch.targets)
        assert all(len(part.inputs) > 0 and part.count == batch.count == len(batch.inputs) for part in parts)
        mean_of_ranks = sum(part.weight * part.targets.mean().item() for part in parts) / processes
        assert mean_of_ranks == pytest.approx(batch.targets.mean().item())
    assert all(batch.weight == 1 for batch in whole)


def test_more_processes_than_scans_in_the_smallest_batch_are_refused(results):
    with pytest.raises(
        InputError, match=r"smallest batch of 7 training scans at `batch_size` 4 has 3 scan.*4 processes"
    ):
        loader(results, batch_size=4, processes=4)


def test_each_epoch_takes_every_scan_once_in_another_order(results):
    orders = [torch.cat([batch.targets for batch in epoch(loader(results), number)]).tolist() for number in range(3)]
    assert all(sorted(order) == TRAIN["target"].tolist() for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    other_seed = torch.cat([batch.targets for batch in epoch(loader(results, seed=4))]).tolist()
    assert other_seed != orders[0]


@pytest.mark.parametrize("kept", ["resident", "streamed"])
def test_batches_hold_the_rows_and_modalities_that_were_asked_for(results, kept):
    loaded = loader(results, augmentation=STILL, memory=kept, batch_size=7)
    (batch,) = loaded.epoch(0)
    by_target = {value: image for value, image in zip(batch.targets.tolist(), batch.inputs, strict=True)}
    for sample in TRAIN.itertuples():
        stored = np.load(results / sample.cohort / "packed" / sample.pack / "images.npy")[sample.row]
        t1w, t2w = stored[[0, 1]] if sample.cohort == "a" else stored[[2, 0]]
        expected = to_input(torch.from_numpy(np.stack([t1w, t2w])), INTENSITY)
        assert torch.equal(by_target[sample.target], expected)


def test_held_out_pack_is_not_needed_to_train_and_validate(results, tmp_path):
    copy = tmp_path / "results"
    shutil.copytree(results, copy)
    shutil.rmtree(copy / "a" / "packed" / "held-out")
    assert same(epoch(loader(copy, memory="streamed")), epoch(loader(results, memory="streamed")))
    packed = open_packed(packed_folders(TRAIN, copy), ["T1w", "T2w"])
    assert set(packed.images) == {("a", "development"), ("b", "development")}
    assert len(list(evaluation_batches(TRAIN, BatchSource(packed, VALUES, SETTINGS, INTENSITY, CPU)))) == 3
    with pytest.raises(InputError, match=r"held-out.images.npy"):
        open_packed(packed_folders(rows(("a", "held-out", 0)), copy), ["T1w"])


def damaged(results, tmp_path) -> tuple[Path, dict]:
    copy = tmp_path / "results"
    shutil.copytree(results, copy)
    return copy / "a" / "packed" / "development", packed_folders(TRAIN, copy)


def test_rows_of_the_index_in_another_order_are_followed(results, tmp_path):
    folder, folders = damaged(results, tmp_path)
    index = read_table(folder / "index.tsv")
    for name in ("images", "labels"):
        np.save(folder / f"{name}.npy", np.load(folder / f"{name}.npy")[::-1])
    write_table(folder / "index.tsv", index.assign(row=index["row"].to_numpy()[::-1]))
    moved, before = (
        open_packed(each, ["T1w"]).stack_images(TRAIN) for each in (folders, packed_folders(TRAIN, results))
    )
    assert torch.equal(moved, before)


def test_an_index_whose_scans_are_exchanged_is_refused(results, tmp_path):
    folder, folders = damaged(results, tmp_path)
    index = read_table(folder / "index.tsv")
    index.loc[[0, 1], "scan_id"] = index.loc[[1, 0], "scan_id"].to_numpy()
    write_table(folder / "index.tsv", index)
    with pytest.raises(InputError, match=r"row \d of .*images.npy doesn't match a-\d"):
        open_packed(folders, ["T1w"]).stack_images(TRAIN)


@pytest.mark.parametrize("name", ["images", "labels"])
def test_images_and_labels_of_different_runs_are_refused(results, tmp_path, name):
    folder, folders = damaged(results, tmp_path)
    array = np.load(folder / f"{name}.npy")
    np.save(folder / f"{name}.npy", array[[1, 0, *range(2, len(array))]])  # the same scans in another order
    with pytest.raises(InputError, match=rf"{name}.npy doesn't match"):
        loader(folder.parents[2], task=Segmentation())
        epoch(loader(folder.parents[2], task=Segmentation()))
    np.save(folder / f"{name}.npy", array[1:])
    with pytest.raises(InputError, match=r"index\.tsv has 6 rows"):
        open_packed(folders, ["T1w"])


def test_a_sample_that_the_pack_lacks_is_named(results):
    packed = open_packed(packed_folders(TRAIN, results), ["T1w"])
    with pytest.raises(InputError, match="has no scan nobody"):
        packed.places(TRAIN.assign(scan_id="nobody"))


def test_damaged_array_absent_modality_and_unequal_grids_end_as_a_sentence(results, tmp_path):
    copy = tmp_path / "results"
    shutil.copytree(results, copy)
    folders = packed_folders(TRAIN, copy)
    with pytest.raises(InputError, match=r"development contains T1w, T2w but not FLAIR: .*`modalities`"):
        open_packed(folders, ["T1w", "FLAIR"])
    images = copy / "b" / "packed" / "development" / "images.npy"
    np.save(images, np.zeros((3, 3, 8, 8, 8), dtype=np.uint8))
    with pytest.raises(InputError, match=r"35 x 37 x 39.*8 x 8 x 8"):
        open_packed(folders, ["T1w"])
    images.write_bytes(images.read_bytes()[:600])
    with pytest.raises(InputError, match=r"images.npy can't be mapped"):
        open_packed(folders, ["T1w"])


def test_patches_lie_in_the_volume_hold_brain_and_differ_by_epoch(results):
    loaded = loader(results, task=Segmentation(), patch=[9, 10, 11], batch_size=7)
    found = [next(loaded.epoch(number)) for number in range(6)]
    for batch in found:
        assert batch.inputs.shape == (7, 2, 9, 10, 11) and batch.targets.shape == (7, 9, 10, 11)
        assert batch.targets.dtype == torch.uint8
        assert batch.targets.flatten(1).any(dim=1).all(), "each centre lies in the brain"
    brain = torch.cat([batch.targets.flatten(1) > 0 for batch in found]).float().mean(dim=1)
    assert brain.mean() > 0.6 and brain.unique().numel() > 20


def test_every_brain_voxel_can_be_a_patch_centre_wherever_the_movement_puts_it(results):
    limits = STILL.model_copy(update={"flip": True, "shift": 0.2})
    loaded = loader(results, task=Segmentation(), patch=[1, 1, 1], batch_size=7, augmentation=limits)
    assert all((next(loaded.epoch(number)).targets > 0).float().mean() > 0.8 for number in range(8)), (
        "all but what the shift takes out of the volume"
    )
    loaded = loader(results, task=Segmentation(), patch=[1, 1, 1], augmentation=STILL)
    starts = np.array([loaded._patch_start(number, 0, AugmentationParameters()) for number in range(600)])
    brain = np.argwhere(loaded.packed.labels["a", "development"][0] > 0)
    assert (starts.min(axis=0) <= brain.min(axis=0) + 2).all() and (starts.max(axis=0) >= brain.max(axis=0) - 2).all()
    assert np.abs(starts.mean(axis=0) - brain.mean(axis=0)).max() < 1
    assert np.abs(starts.std(axis=0) - brain.std(axis=0)).max() < 0.5


def test_that_fraction_of_the_patches_is_around_structures_and_the_others_are_those_without_it(results):
    usual, some, all_of_them = (
        loader(results, task=Segmentation(), patch=[1, 1, 1], augmentation=STILL, foreground_fraction=fraction)
        for fraction in (0.0, 0.4, 1.0)
    )
    found = [
        [one._patch_start(epoch, 0, AugmentationParameters()) for epoch in range(600)]
        for one in (usual, some, all_of_them)
    ]
    assert found[1] == [one._patch_start(epoch, 0, AugmentationParameters()) for one in (some,) for epoch in range(600)]
    moved = np.array([own != other for own, other in zip(found[1], found[0], strict=True)])
    assert abs(moved.mean() - 0.4) < 0.07
    assert all(own in (first, second) for own, first, second in zip(found[1], found[0], found[2], strict=True))
    labels = usual.packed.labels["a", "development"][usual.places[0][1]]
    structures, counts = np.unique([labels[place] for place in found[2]], return_counts=True)
    assert structures.tolist() == np.unique(labels[labels > 0]).tolist()
    assert np.abs(counts / 600 - 1 / len(structures)).max() < 0.08


def test_scan_without_a_structure_has_patches_as_usual(results, monkeypatch):
    pair = [
        loader(results, task=Segmentation(), patch=[5, 5, 5], foreground_fraction=fraction) for fraction in (0.0, 1.0)
    ]
    monkeypatch.setattr(type(pair[0].packed), "label_map", lambda self, pack, row: np.zeros(SHAPE, dtype=np.uint8))
    starts = [[one._patch_start(epoch, 0, AugmentationParameters()) for epoch in range(20)] for one in pair]
    assert starts[0] == starts[1]


def test_patch_larger_than_the_volume_is_refused(results):
    with pytest.raises(InputError, match=r"`patch` is 16 x 48 x 16 voxels and the packed volumes are 35 x 37 x 39"):
        loader(results, task=Segmentation(), patch=[16, 48, 16])


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_error_in_a_worker_reaches_the_loop_and_ends_the_threads(results, tmp_path, workers):
    copy = tmp_path / "results"
    shutil.copytree(results, copy)
    running = loader(copy, TRAIN, memory="streamed", workers=workers)
    for file in copy.rglob("images.npy"):
        images = np.load(file, mmap_mode="r+")
        images[:] = 255 - images
    with pytest.raises(InputError, match=r"index\.tsv"):
        epoch(running)
    assert threads_of_batches() == []


def test_closing_an_epoch_ends_its_threads(results):
    running = loader(results, batch_size=1, workers=2).epoch(0)
    next(running)
    assert threads_of_batches()
    running.close()
    assert threads_of_batches() == []


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_reading_ahead_is_bounded_and_keeps_the_order(workers):
    calls = []
    endless = ahead(lambda item: calls.append(item) or item, itertools.count(), workers)
    assert [next(endless) for _ in range(5)] == [0, 1, 2, 3, 4]
    endless.close()
    assert len(calls) <= 5 + workers


@pytest.mark.parametrize(("task", "workers"), [(VALUES, 0), (VALUES, 2), (Segmentation(), 1)])
def test_evaluation_gives_the_scans_in_order_whole_and_as_they_are(results, task, workers):
    settings = SETTINGS.model_copy(update={"workers": workers, "patch": [8, 8, 8]})
    packed = open_packed(packed_folders(TRAIN, results), settings.modalities)
    found = list(evaluation_batches(TRAIN, BatchSource(packed, task, settings, INTENSITY, CPU)))
    assert [batch.count for batch in found] == [3, 3, 1] and all(batch.weight == 1 for batch in found)
    inputs, targets = (torch.cat([getattr(batch, name) for batch in found]) for name in ("inputs", "targets"))
    assert torch.equal(inputs, to_input(packed.stack_images(TRAIN), INTENSITY))
    if isinstance(task, Segmentation):
        assert np.array_equal(targets, list(reference_labels(TRAIN, packed)))
    else:
        assert targets.tolist() == TRAIN["target"].tolist()


def test_part_is_resident_where_it_takes_less_than_half_of_the_free_memory(results, monkeypatch):
    needed = 7 * 2 * int(np.prod(SHAPE))
    for free, expected in ((2 * needed + 1, "resident"), (2 * needed, "streamed")):
        monkeypatch.setattr(batches, "free_memory", lambda device, free=free: free)
        assert loader(results, memory="auto").memory == expected
    monkeypatch.setattr(batches, "free_memory", lambda device: 3 * needed)
    assert loader(results, memory="auto", processes=2).memory == "streamed", "two processes on a CPU share its memory"
    assert loader(results, task=Segmentation(), memory="auto").memory == "streamed", "label maps take memory too"


def test_free_memory_is_what_the_job_was_granted(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_limit_files", lambda: iter([limit]))
    limit.write_text("max\n")
    unlimited = memory.free_memory(CPU)
    assert unlimited > 0
    limit.write_text("4096\n")
    assert memory.free_memory(CPU) == 0
    limit.write_text(f"{2**62}\n")
    assert memory.free_memory(CPU) > unlimited / 2


def test_statistics_ignore_what_lies_outside_the_brain():
    images = torch.zeros((2, 2, 8, 8, 8), dtype=torch.uint8)
    images[:, 0, 2:6] = 100
    images[:, 0, 3] = 140
    images[:, 1, 2:6] = 60
    found = intensity_statistics(images)
    assert found.mean == [110, 60], "each channel has its own"
    assert abs(found.deviation[0] - np.std([100, 140, 100, 100])) < 1e-9


def test_statistics_read_from_the_map_scan_by_scan_are_those_of_the_whole_in_any_order(results):
    packed = open_packed(packed_folders(TRAIN, results), ["T1w", "T2w"])
    streamed = intensity_statistics(packed.each_image(TRAIN))
    assert streamed == intensity_statistics(packed.stack_images(TRAIN))
    assert streamed == intensity_statistics(packed.each_image(TRAIN.iloc[::-1]))
    voxels = packed.stack_images(TRAIN)[:, 1].numpy()
    np.testing.assert_allclose(
        [streamed.mean[1], streamed.deviation[1]], [voxels[voxels > 0].mean(), voxels[voxels > 0].std()], rtol=1e-6
    )


def test_statistics_of_empty_scans_end_as_a_sentence():
    with pytest.raises(InputError, match=r"channel 2 .* is 0 everywhere"):
        scans = np.ones((2, 2, 4, 4, 4), dtype=np.uint8)
        scans[:, 1] = 0
        intensity_statistics(scans)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("task", [VALUES, Segmentation()], ids=["regression", "segmentation"])
def test_gpu_gives_the_same_bits_from_its_own_memory_and_streamed_and_agrees_with_the_cpu(results, task):
    packed = open_packed(packed_folders(TRAIN, results), SETTINGS.modalities)
    cuda = torch.device("cuda")

    def batches_on(device, **changes):
        settings = SETTINGS.model_copy(update=changes)
        return epoch(TrainingBatches(TRAIN, BatchSource(packed, task, settings, INTENSITY, device)))

    expected = batches_on(cuda)
    assert all(batch.inputs.is_cuda and batch.targets.is_cuda for batch in expected)
    for workers, kept in itertools.product((0, 2), ("resident", "streamed")):
        assert same(batches_on(cuda, workers=workers, memory=kept), expected), (workers, kept)
    quiet = SETTINGS.augmentation.model_copy(update={"noise": 0})  # a GPU's noise is another than a CPU's
    for gpu, cpu in zip(batches_on(cuda, augmentation=quiet), batches_on(CPU, augmentation=quiet), strict=True):
        torch.testing.assert_close(gpu.inputs.cpu(), cpu.inputs, atol=1e-3, rtol=0)
        assert (gpu.targets.cpu() == cpu.targets).float().mean() > 0.999
    evaluated = list(evaluation_batches(TRAIN, BatchSource(packed, task, SETTINGS, INTENSITY, cuda)))
    torch.testing.assert_close(
        torch.cat([batch.inputs for batch in evaluated]).cpu(), to_input(packed.stack_images(TRAIN), INTENSITY)
    )
