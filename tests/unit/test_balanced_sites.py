"""Sites give the same number of scans to an epoch if that is wanted; else the order of the scans is the one it always was."""

import numpy as np
import pandas as pd
import pytest
import torch
from neurocohort.learning.batches import BatchSource, TrainingBatches
from neurocohort.learning.data import intensity_statistics
from neurocohort.learning.scan_order import balance_line, epoch_order, site_groups
from neurocohort.learning.tasks import fit_task
from neurocohort.learning.training import parts_of
from toy_training import CPU, run, toy_cohort, toy_settings, weights_hash

GROUPS = np.array(["a"] * 20 + ["b"] * 3 + ["c"] * 7)


def test_order_without_balance_is_a_permutation_of_the_scans_from_seed_and_epoch():
    np.testing.assert_array_equal(epoch_order(30, None, 4, 2), np.random.default_rng((4, 2)).permutation(30))


@pytest.mark.parametrize("epoch", range(5))
def test_each_site_gives_the_same_number_of_scans(epoch):
    order = epoch_order(30, GROUPS, 1, epoch)
    scans = order % 30
    assert len(order) == len(set(order)) == 30, "no two draws have the same number"
    assert {name: int((GROUPS[scans] == name).sum()) for name in "abc"} == {"a": 10, "b": 10, "c": 10}
    times = np.bincount(scans, minlength=30)
    assert set(times[:20]) == {0, 1} and set(times[20:23]) == {3, 4} and set(times[23:]) == {1, 2}
    np.testing.assert_array_equal(order, epoch_order(30, GROUPS, 1, epoch))
    assert not np.array_equal(order, epoch_order(30, GROUPS, 1, epoch + 1))


def test_numbers_that_sites_do_not_divide_differ_by_one_and_take_turns():
    groups = np.array(["a"] * 6 + ["b"] * 2)
    groups = np.append(groups, "b")
    counts = [int((groups[epoch_order(9, groups, 1, epoch) % 9] == "a").sum()) for epoch in range(30)]
    assert set(counts) == {4, 5}


def test_all_scans_of_a_large_site_are_drawn_in_some_epoch():
    drawn = {int(scan) for epoch in range(12) for scan in epoch_order(30, GROUPS, 1, epoch) % 30}
    assert drawn == set(range(30))


def test_sites_are_those_of_a_cohort_and_unknown_ones_are_one():
    samples = pd.DataFrame({"cohort": ["x", "x", "x", "y", "y"], "site": [3.0, np.nan, "3", 3, "u"]})
    assert site_groups(samples).tolist() == ["x 3", "x", "x 3", "y 3", "y u"]


def test_log_has_the_sites_and_says_if_there_is_one_only():
    expected = "sites balanced: each of 3 gives 10 of the 30 scans of an epoch; they have a 20, b 3, c 7"
    assert balance_line(GROUPS) == expected
    assert balance_line(GROUPS[:20]).startswith("note: `balance_sites` changes nothing")


def batches_of(**changes) -> list[TrainingBatches]:
    """Those of each process."""
    settings = toy_settings(balance_sites=True, **changes)
    samples, packed = toy_cohort("regression")
    training, _ = parts_of(samples, 0)
    intensity = intensity_statistics(packed.each_image(training))
    source = BatchSource(packed, fit_task(settings, training["target"].to_numpy()), settings, intensity, CPU)
    return [TrainingBatches(training, source, rank) for rank in range(settings.processes)]


def test_a_scan_that_is_drawn_twice_is_augmented_twice():
    (batches,) = batches_of()
    scans = [scan for batch in batches.epoch(0) for scan in zip(batch.targets.tolist(), batch.inputs, strict=True)]
    twice = [[image for target, image in scans if target == value] for value in {target for target, _ in scans}]
    repeated = [images for images in twice if len(images) > 1]
    assert repeated and not any(torch.equal(images[0], images[1]) for images in repeated)


def test_processes_divide_the_batches_and_a_resumed_epoch_has_the_rest():
    whole = list(batches_of()[0].epoch(1))
    for batch, parts in zip(whole, zip(*(one.epoch(1) for one in batches_of(processes=2)), strict=True), strict=True):
        assert torch.equal(batch.inputs, torch.cat([part.inputs for part in parts]))
        assert torch.equal(batch.targets, torch.cat([part.targets for part in parts]))
    for batch, rest in zip(whole[1:], batches_of()[0].epoch(1, first_step=1), strict=True):
        assert torch.equal(batch.inputs, rest.inputs)


def test_training_reports_the_balance_and_ends_with_other_weights(tmp_path):
    lines: list[str] = []
    balanced = run(tmp_path, toy_settings(epochs=1, balance_sites=True), "balanced.pt", lines.append)
    assert any("sites balanced: each of 2 gives 6 of the 12" in line for line in lines)
    plain = run(tmp_path, toy_settings(epochs=1), "plain.pt")
    assert weights_hash(plain.weights) != weights_hash(balanced.weights)
