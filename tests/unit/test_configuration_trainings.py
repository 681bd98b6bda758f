"""Trainings of a configuration: refused conflicts, the trainings that follow from it, and their settings."""

import copy

import pytest
from configurations import (
    SOURCE,
    TISSUE,
    changed,
    experiment_with,
    refusal,
)
from neurocohort.learning.draws import draws_of
from neurocohort.learning.settings import read_settings
from neurocohort.study.configuration import check_configuration
from neurocohort.study.members import all_experiments, members_of, starting_members, training_settings

RATES = {"training.learning_rate": [0.1, 0.03, 0.01]}


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({"training__cross_validation": True}, None),
        ({"training__processes": 9}, ["training.processes` is 9", "a batch has 5 scans"]),
        ({"training__precision": "float16"}, ["float16", "CPU", "bfloat16"]),
        ({"training__patch": [32, 32, 32]}, ["training.patch` is only for segmentation", "regression"]),
        (
            {"training__patience": 5, "training__keep": "last"},
            ["training.patience` is 5", "keep` is last", "patience: 0"],
        ),
        ({"training__patience": 5, "training__keep": "averaged"}, ["training.keep` is averaged"]),
        ({"training__patience": 5, "training__keep": "best"}, None),
        ({"training__keep": "first"}, ["`best`, `last`, `averaged`"]),
        ({"training__retrain": 6}, ["training.retrain` is 6", "from 0 to 5"]),
        ({"control": "shuffled_target"}, None),
        ({"transfer": {"weights": "dementia"}}, None),
        ({"transfer": {"weights": "dementi"}}, ["dementi", "did you mean `dementia`"]),
        ({"transfer": {"weights": "brain_age"}}, ["start from itself"]),
        ({"transfer": {"weights": "old.safetensors"}}, ["old.safetensors", "doesn't exist"]),
        ({"transfer": {"weights": "old.pt"}}, ["old.pt", "pickle"]),
        ({"sweep": {"values": {"training.learning_rate": [0.1, 0.01]}}}, None),
        ({"sweep": {"values": {"training.learning_rate": {"low": 0.1, "high": 0.2}}}}, ["needs", "sweep.draws"]),
        (
            {"sweep": {"draws": 2, "values": {"training.learning_rate": {"low": 0.2, "high": 0.1}}}},
            ["`low` below `high`"],
        ),
        ({"sweep": {"draws": 2, "values": {"network.dropout": {"low": 0, "high": 0.5, "log": True}}}}, ["above 0"]),
        ({"sweep": {"values": {"network.name": ["sfcn", "unet"]}}}, ["draw-02", "`unet`, which isn't for regression"]),
        (
            {"sweep": {"values": {"training.learning_rate": [0.1, 7]}}},
            ["draw-02", "training.learning_rate", "at most 1"],
        ),
        ({"sweep": {"values": {"training.seeds": [1, 2]}}}, ["training.seeds"]),
        ({"sweep": {"method": "successive_halving", "draws": 3, "values": RATES}}, None),
        (
            {"sweep": {"method": "successive_halving", "draws": 90, "values": RATES}},
            ["6 rounds", "expected at least 5"],
        ),
        ({"sweep": {"method": "successive_halving", "at_once": 2, "values": RATES}}, ["at_once` is 2", "bayesian"]),
        (
            {"sweep": {"method": "successive_halving", "values": {"training.epochs": [9, 18]}}},
            ["training.epochs", "from round to round"],
        ),
        ({"sweep": {"method": "bayesian", "draws": 5, "values": RATES}}, None),
        ({"training__epochs": 2, "sweep": {"method": "bayesian", "draws": 5, "values": RATES}}, None),
        ({"sweep": {"method": "bayesian", "draws": 4, "values": RATES}}, ["sweep.draws` is 4", "more than"]),
        (
            {
                "sweep": {
                    "method": "bayesian",
                    "draws": 9,
                    "values": {"training.learning_rate": {"low": 0.1, "high": 7}},
                }
            },
            ["a possible one", "training.learning_rate", "at most 1"],
        ),
        ({"sweep": {"reduction": 2, "values": RATES}}, ["reduction` is 2", "successive_halving"]),
        (
            {"network": {"name": "resnet18", "dropout": 0.3}},
            ["network.dropout", "resnet18", "densenet201, sfcn, swin, vit"],
        ),
        ({"network": {"name": "densenet121", "norm": "group"}}, ["network.norm", "densenet121"]),
        ({"training__loss": "dice_focal"}, ["training.loss` is dice_focal", "for segmentation", "regression"]),
        ({"training__synthetic": {"fraction": 0}}, None),
        ({"training__synthetic": {"fraction": 0.3}}, ["synthetic.fraction` is 0.3", "for segmentation", "regression"]),
        ({"training__synthetic": {"fraction": 1.3}}, ["synthetic.fraction` is 1.3", "from 0 to 1"]),
        ({"training__loss": "focal"}, ["`dice_ce`, `dice_focal`"]),
        ({"training__foreground_fraction": 0.3}, ["foreground_fraction` is 0.3", "training.patch` is empty"]),
        ({"network": {"name": "resnet18", "deep_supervision": True}}, ["deep_supervision", "dynunet, resencunet"]),
    ],
)
def test_trainings_are_checked_with_what_they_depend_on(demo_study, keys, parts):
    config = experiment_with(demo_study, **keys)
    if parts is None:
        check_configuration(config, source=SOURCE)
        return
    message = refusal(config)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("network", "patch", "parts"),
    [
        ({"name": "resencunet", "deep_supervision": True}, [32, 64, 32], None),
        ({"name": "swinunetr"}, [32, 64, 32], None),
        (
            {"name": "swinunetr", "channels": [24]},
            [32, 32, 48],
            ["halves it 5 times", "multiples of 32", "[32, 32, 64]"],
        ),
        ({"name": "swinunetr"}, [32, 32, 32], ["to a single voxel", "such as [32, 64, 32]"]),
        ({"name": "dynunet"}, [8, 8, 8], ["to a single voxel", "such as [8, 16, 8]"]),
        ({"name": "segresnet"}, [8, 8, 8], None),
        (
            {"name": "swinunetr", "channels": [16]},
            [32, 64, 32],
            ["`experiments.tissue.network.channels`", "multiple of 12"],
        ),
        ({"name": "resencunet", "channels": [8, 16]}, [32, 32, 32], ["has 2 values", "resencunet expects 3 to 10"]),
        ({"name": "unet", "deep_supervision": True}, [32, 32, 32], ["deep_supervision` is true", "not for unet"]),
    ],
)
def test_networks_of_segmentation_are_checked_with_their_patches(demo_study, network, patch, parts):
    config = changed(demo_study, "preprocessing.shape", [64, 64, 64])
    config = changed(changed(config, f"{TISSUE}.network", network), f"{TISSUE}.training.patch", patch)
    if parts is None:
        check_configuration(config, source=SOURCE)
        return
    message = refusal(config)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({}, None),
        ({"preprocessing.intensity": "zscore"}, None),
        ({"preprocessing.intensity": "white_matter_peak"}, ["white_matter_peak", "expected percentile or zscore"]),
        (
            {"preprocessing.tissue_maps": True, f"{TISSUE}.modalities": ["T1w", "GM"]},
            ["synthetic.fraction` is 0.5", "has GM, which is not an image"],
        ),
        (
            {f"{TISSUE}.cohorts": ["own"], "cohorts.own.labels": {f"s{value}": value for value in range(1, 251)}},
            ["tissue_classes` is 6", "250 structures", "at most 255"],
        ),
    ],
)
def test_painted_images_are_checked_with_what_they_depend_on(demo_study, changes, parts, tmp_path):
    config = changed(demo_study, f"{TISSUE}.training.synthetic", {})
    (tmp_path / "scans.csv").write_text("participant_id,path\na,a.nii.gz\n")
    (tmp_path / "a.nii.gz").touch()
    if f"{TISSUE}.cohorts" in changes:
        config = changed(config, "cohorts.own", {"source": "table", "path": str(tmp_path / "scans.csv")})
    for key, value in changes.items():
        config = changed(config, key, value)
    if parts is None:
        check_configuration(config, source=SOURCE)
        return
    message = refusal(config)
    assert all(part in message for part in parts), message


def transferring(demo_study, **experiments):
    """The demo with experiments like brain_age, each given by its cohorts, whether it has folds, its source, and other keys."""
    base = demo_study["experiments"]["brain_age"]
    made = {}
    for name, (cohorts, folded, source, *more) in experiments.items():
        made[name] = copy.deepcopy(base) | {"cohorts": cohorts, "filter": ""} | (more[0] if more else {})
        made[name]["training"] |= {"cross_validation": folded}
        if source:
            made[name]["transfer"] = {"weights": source}
    return demo_study | {"experiments": made}


IXI, OASIS = ["ixi"], ["oasis1"]


ALLOWED_TRANSFERS = {
    "same folds": {"a": (OASIS, True, ""), "b": (OASIS, True, "a")},
    "no folds": {"a": (OASIS, False, ""), "b": (OASIS, False, "a")},
    "other cohorts": {"a": (IXI, False, ""), "b": (OASIS, True, "a")},
    "folds all along": {"a": (OASIS, True, ""), "b": (IXI, True, "a"), "c": (OASIS, True, "b")},
    "site left out elsewhere": {"a": (IXI, False, ""), "b": (OASIS, False, "a", {"leave_one_site_out": ["WashU"]})},
}


LEAKING_TRANSFERS = {
    "source without folds": (
        {"a": (OASIS, False, ""), "b": (OASIS, True, "a")},
        [
            "experiments.b.transfer.weights` is a",
            "train on oasis1",
            "is false in a and true in `experiments.b`",
            "both.",
        ],
    ),
    "folds in the source alone": (
        {"a": (["ixi", "oasis1"], True, ""), "b": (OASIS, False, "a")},
        ["is true in a and false in `experiments.b`"],
    ),
    "source without folds further back": (
        {"a": (OASIS, False, ""), "b": (IXI, True, "a"), "c": (OASIS, True, "b")},
        ["experiments.c.transfer.weights` is b, which goes back to a", "is false in a and true in `experiments.c`"],
    ),
    "folds lost on the way": (
        {"a": (OASIS, True, ""), "b": (IXI, False, "a"), "c": (OASIS, True, "b")},
        ["which goes back to a", "b between them has none", "`training.cross_validation: true` there too"],
    ),
    "source trained on the external cohort": (
        {"a": (IXI, False, ""), "b": (OASIS, False, "a", {"external": IXI})},
        ["which is trained on ixi", "`experiments.b.external` has ixi", "start from another experiment"],
    ),
    "external cohort trained on further back": (
        {"a": (IXI, False, ""), "b": (OASIS, False, "a"), "c": (OASIS, False, "b", {"external": IXI})},
        ["is b, which goes back to a, which is trained on ixi"],
    ),
    "site left out that the source has seen": (
        {"a": (IXI, False, ""), "b": (IXI, False, "a", {"leave_one_site_out": ["Guys"]})},
        ["trained on ixi with all of its sites", "leave_one_site_out` has Guys", "Remove one of the two keys"],
    ),
}


@pytest.mark.parametrize("case", ALLOWED_TRANSFERS)
def test_transfer_between_matching_folds_or_other_cohorts_is_accepted(demo_study, case):
    check_configuration(transferring(demo_study, **ALLOWED_TRANSFERS[case]), source=SOURCE)


@pytest.mark.parametrize("case", LEAKING_TRANSFERS)
def test_transfer_from_a_network_that_saw_the_tested_scans_is_refused(demo_study, case):
    experiments, parts = LEAKING_TRANSFERS[case]
    message = refusal(transferring(demo_study, **experiments))
    assert all(part in message for part in parts), message
    assert "faults" not in message, "one fault, one sentence"


def test_each_fold_starts_from_the_same_fold_of_the_source(demo_study):
    source = {"training": {"seeds": [1, 2], "cross_validation": True}}
    assert starting_members(source, 3, "fold-3_seed-2") == ["fold-3_seed-2", "fold-3_seed-1"]
    assert starting_members(source, 3, "sweep/draw-01/fold-2_seed-7") == ["fold-2_seed-1", "fold-2_seed-2"]
    assert starting_members(source, 3, "seed-2") == ["fold-1_seed-2", "fold-1_seed-1"], "a control has no folds"
    plain = {"training": {"seeds": [1, 11], "cross_validation": False}}
    assert starting_members(plain, 3, "fold-2_seed-11") == ["seed-11", "seed-1"]
    assert starting_members(plain, 3, "seed-5") == ["seed-1", "seed-11"]


def test_networks_of_controls_alone_are_not_judged(demo_study):
    config = check_configuration(
        experiment_with(demo_study, control="shuffled_target", training__retrain=2, training__keep="last"),
        source=SOURCE,
    )
    settings = {
        name: training_settings(experiment, "seed-1")
        for name, experiment in all_experiments(config["experiments"]).items()
    }
    assert [name for name, own in settings.items() if not own.judged] == [
        f"brain_age_shuffled-target-{number}" for number in (1, 2, 3)
    ]
    assert (settings["brain_age"].retrain, settings["brain_age"].keep) == (2, "last")


def test_controls_are_experiments_beside_the_one_that_asks_for_it(demo_study):
    config = check_configuration(experiment_with(demo_study, control="shuffled_target"), source=SOURCE)
    found = all_experiments(config["experiments"])
    controls = [f"brain_age_shuffled-target-{number}" for number in (1, 2, 3)]
    assert list(found) == ["brain_age", *controls, "dementia", "tissue"]
    assert [experiment["permutation"] for experiment in found.values()] == [0, 1, 2, 3, 0, 0]
    taken = experiment_with(demo_study, control="shuffled_target")
    taken["experiments"]["brain_age_shuffled-target-2"] = taken["experiments"]["dementia"]
    assert "`brain_age_shuffled-target-2`, a name that another experiment has" in refusal(taken)


def test_draws_follow_from_the_seed_and_lie_in_their_ranges(demo_study):
    sweep = {
        "draws": 50,
        "seed": 3,
        "values": {"training.learning_rate": {"low": 0.001, "high": 0.1, "log": True}, "network.dropout": [0.0, 0.5]},
    }
    draws = draws_of(sweep)
    assert draws == draws_of(sweep) != draws_of({**sweep, "seed": 4}) and len(draws) == 50
    rates = [values["training.learning_rate"] for values in draws.values()]
    assert all(0.001 <= rate <= 0.1 for rate in rates) and 15 < sum(rate < 0.01 for rate in rates) < 35
    assert {values["network.dropout"] for values in draws.values()} == {0.0, 0.5}
    grid = draws_of({"draws": 0, "seed": 1, "values": {"training.epochs": [1, 2], "network.dropout": [0.0, 0.5]}})
    assert [tuple(values.values()) for values in grid.values()] == [(1, 0.0), (1, 0.5), (2, 0.0), (2, 0.5)]
    assert list(grid) == ["sweep/draw-01", "sweep/draw-02", "sweep/draw-03", "sweep/draw-04"]


def test_settings_of_a_run_are_the_experiments_with_its_draw_fold_and_seed(demo_study):
    config = check_configuration(
        experiment_with(
            demo_study,
            training__cross_validation=True,
            training__seeds=[4, 5],
            sweep={"values": {"training.learning_rate": [0.1, 0.02]}},
        ),
        source=SOURCE,
    )
    experiment = config["experiments"]["brain_age"]
    assert members_of(experiment, 2) == ["fold-1_seed-4", "fold-1_seed-5", "fold-2_seed-4", "fold-2_seed-5"]
    settings = training_settings(experiment, "sweep/draw-02/fold-2_seed-5")
    assert (settings.learning_rate, settings.fold, settings.seed) == (0.02, 2, 5)
    assert training_settings(experiment, "fold-1_seed-4").learning_rate == 0.01
    assert read_settings(settings.as_json()) == read_settings(settings.as_dict()) == settings
