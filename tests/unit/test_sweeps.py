"""Sweeps in rounds: which draws there are, that their values follow from the earlier rounds alone, and what is chosen."""

import math

import pytest
from configurations import SOURCE, experiment_with
from neurocohort.errors import InputError
from neurocohort.files import write_json
from neurocohort.learning.draws import draws_of, final_draws, independent_draws, rounds_of, suggestion
from neurocohort.learning.searches import Tried, suggest
from neurocohort.learning.settings import with_values
from neurocohort.learning.sweeps import choose, tried_rounds
from neurocohort.study.configuration import check_configuration
from neurocohort.study.members import all_experiments, training_settings

VALUES = {
    "training.learning_rate": {"low": 0.0005, "high": 0.02, "log": True},
    "network.channels": [[4, 8], [8, 16]],
}
HALVING = {"method": "successive_halving", "draws": 9, "reduction": 3, "at_once": 4, "seed": 1, "values": VALUES}
BAYESIAN = HALVING | {"method": "bayesian", "draws": 22}


def error_of(values: dict) -> float:
    """A criterion that is smallest at a learning rate of 0.003 with the larger network."""
    distance = abs(math.log(values["training.learning_rate"] / 0.003))
    return distance + (0.5 if values["network.channels"] == [4, 8] else 0)


def searched(sweep: dict) -> list[list[Tried]]:
    """All rounds of a sweep whose networks reach `error_of`."""
    found: list[list[Tried]] = []
    for one in rounds_of(sweep):
        draws = suggest(sweep, one.number, found)
        found.append([Tried(draw, values, error_of(values)) for draw, values in draws.items()])
    return found


def test_rounds_halve_the_draws_and_multiply_the_epochs():
    rounds = rounds_of(HALVING)
    assert [(len(one.draws), one.shorter) for one in rounds] == [(9, 9), (3, 3), (1, 1)]
    assert final_draws(HALVING) == ["sweep/draw-13"] and len(draws_of(HALVING)) == 13
    assert [len(one.draws) for one in rounds_of(BAYESIAN)] == [4] * 5 + [2]
    assert final_draws(BAYESIAN) == list(draws_of(BAYESIAN))
    independent = HALVING | {"method": "independent"}
    assert rounds_of(independent) == [] and final_draws(independent) == list(draws_of(independent))


def test_the_best_third_of_the_draws_goes_on():
    first, second, third = searched(HALVING)
    assert [one.values for one in first] == list(independent_draws(HALVING).values())
    ranked = sorted(first, key=lambda one: one.criterion)
    assert [one.values for one in second] == [one.values for one in ranked[:3]]
    assert third[0].values == ranked[0].values


def test_a_bayesian_round_follows_from_the_seed_and_the_earlier_rounds_and_comes_closer():
    rounds = searched(BAYESIAN)
    assert rounds == searched(BAYESIAN) != searched(BAYESIAN | {"seed": 2})
    random = [one.criterion for one in rounds[0]]
    assert min(one.criterion for one in rounds[-1]) < min(random)
    every = [one.values for each in rounds for one in each]
    assert all(0.0005 <= values["training.learning_rate"] <= 0.02 for values in every)
    failed = [[Tried(one.draw, one.values, math.nan) for one in rounds[0]]]
    with pytest.raises(InputError, match="none of the 4 draws"):
        suggest(BAYESIAN, 2, failed)
    partly = [[*rounds[0][:2], *failed[0][2:]]]
    assert len(suggest(BAYESIAN, 2, partly)) == 4


def test_trainings_get_the_epochs_of_their_round_and_the_values_of_their_draw(demo_study):
    study = experiment_with(demo_study, training__epochs=45, sweep=HALVING)
    experiment = all_experiments(check_configuration(study, source=SOURCE)["experiments"])["brain_age"]
    runs = ("sweep/draw-01/seed-1", "sweep/draw-10/seed-1", "sweep/draw-13/seed-1", "seed-1")
    assert [training_settings(experiment, run).epochs for run in runs] == [5, 15, 45, 45]
    settings = training_settings(experiment, runs[1])
    values = {"training.learning_rate": 0.5, "network.name": "vit", "training.augmentation.noise": 0.2}
    changed = with_values(settings, values)
    assert (changed.learning_rate, changed.network, changed.augmentation.noise) == (0.5, "vit", 0.2)
    assert changed.epochs == 15 and with_values(settings, {}) == settings


def test_the_table_has_all_rounds_and_the_last_is_chosen_from(tmp_path):
    sweep = HALVING | {"draws": 3}
    for fold in ("test-1", "test-2"):
        for one in rounds_of(sweep):
            draws = suggest(sweep, one.number, tried_rounds(tmp_path, sweep, [f"{fold}_seed-1"], one.number))
            write_json(tmp_path / suggestion(one.number, fold), draws)
            for draw, values in draws.items():
                # the second test fold prefers large learning rates
                found = error_of(values) if fold == "test-1" else -values["training.learning_rate"]
                record = {"criterion": found, "validation_loss": found}
                write_json(tmp_path / draw / f"{fold}_seed-1" / "run.json", record)
    table = choose(tmp_path, sweep, ["test-1_seed-1", "test-2_seed-1"])
    assert table.columns[:3].tolist() == ["test_fold", "draw", "round"]
    assert table["round"].tolist() == [1, 1, 1, 2] * 2 and table["chosen"].tolist() == [0, 0, 0, 1] * 2
    rates = {fold: rows["training.learning_rate"].tolist() for fold, rows in table.groupby("test_fold")}
    assert rates[2][3] == max(rates[2][:3]) and rates[1][3] in rates[1][:3]
