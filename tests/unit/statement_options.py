"""Scenarios of which only the methods text is written: each sets one option of a small study."""

from collections.abc import Callable

import pandas as pd
from neurocohort.files import read_json, write_json
from neurocohort.settings.training import Synthetic
from statement_study import Scenario, with_step


def training(**values: object) -> Callable[[Scenario], None]:
    """Training keys of the dementia experiment."""

    def change(scenario: Scenario) -> None:
        scenario.experiments["dementia"]["training"] |= values
        scenario.train("dementia")

    return change


def preprocessing(**values: object) -> Callable[[Scenario], None]:
    return lambda scenario: scenario.config["preprocessing"].update(values)


def _augmentation_off(scenario: Scenario) -> None:
    off = dict.fromkeys(scenario.experiments["dementia"]["training"]["augmentation"], 0.0) | {"flip": False}
    training(augmentation=off)(scenario)


def _modalities(scenario: Scenario) -> None:
    scenario.real()
    scenario.config["cohorts"]["ixi"]["modalities"] = ["T1w", "T2w", "FA", "MD"]


def _native_window(scenario: Scenario) -> None:
    """Patches, painted images, and an experiment whose volumes are compared, all in native space."""
    preprocessing(space="native", window=[-1000.0, 400.0])(scenario)
    _patches(scenario)
    _painted(scenario)


def _patches(scenario: Scenario) -> None:
    scenario.experiments["tissue"]["training"]["patch"] = [32, 32, 32]
    scenario.experiments["tissue"]["network"]["name"] = "dynunet"
    scenario.train("tissue")


def _structures(scenario: Scenario) -> None:
    own = scenario.experiments["tissue"]
    own["training"] |= {"patch": [32, 32, 32], "foreground_fraction": 0.33, "loss": "dice_focal"}
    own["network"] |= {"name": "resencunet", "channels": [8, 16, 32], "deep_supervision": True}
    own["recipe"] = "nnunet_m"
    scenario.train("tissue")


def _auxiliary(scenario: Scenario) -> None:
    scenario.experiments["dementia"]["auxiliary"] = {"sex": 0.3, "age": 0.5}
    scenario.train("dementia")


def _painted(scenario: Scenario) -> None:
    scenario.experiments["tissue"]["training"]["synthetic"] = Synthetic(fraction=0.4).as_dict()
    scenario.train("tissue")


def _painted_only(scenario: Scenario) -> None:
    unchanged = {"log_gamma": 0.0, "bias_field": 0.0, "blur_voxels": 0.0, "low_resolution": 0.0}
    scenario.experiments["tissue"]["training"]["synthetic"] = Synthetic(fraction=1.0, **unchanged).as_dict()
    scenario.train("tissue")


def _swin(scenario: Scenario) -> None:
    scenario.experiments["tissue"]["network"] |= {"name": "swinunetr", "channels": []}
    scenario.train("tissue")


def _elsewhere(scenario: Scenario) -> None:
    paths = {"path": "a.nii.gz", "dseg_path": "b.nii.gz", "dseg_reference_path": "c.nii.gz"}
    scenario.edit("data/oasis1/scans.tsv", lambda scans: scans.assign(**paths))


def _lacking(scenario: Scenario) -> None:
    for name, step in (("brain_age", "with a value of age"), ("tissue", "with a reference segmentation")):
        scenario.edit(f"results/experiments/{name}/flow.tsv", lambda flow, step=step: with_step(flow, step, 2))


def _several_starts(scenario: Scenario) -> None:
    scenario.edit("results/ixi/qc.tsv", lambda table: table.assign(registration_starts=2))


def _plain_regression(scenario: Scenario) -> None:
    scenario.real()
    scenario.experiments["brain_age"]["external"] = []
    scenario.config["quality"]["max_outlier_z"] = 6.0
    scenario.edit(
        "results/experiments/brain_age/baselines.tsv",
        lambda rows: pd.concat([rows, rows[rows["model"] == "mean"].assign(model="voxel_ridge")]),
    )
    scenario.config["experiments"] = {"brain_age": scenario.experiments["brain_age"]}


def _two_networks(scenario: Scenario) -> None:
    scenario.experiments["brain_age"]["training"]["seeds"] = [1, 2]
    scenario.train("brain_age", ("no", "yes"))
    record = scenario.folder("brain_age") / "seed-2" / "run.json"
    write_json(record, read_json(record) | {"best_epoch": 9})


def _all_in_space(scenario: Scenario) -> None:
    own = {"source": "table", "path": "scans.csv", "skull_stripped": True, "mni_space": True, "modalities": ["T1w"]}
    scenario.config["cohorts"] = {"ixi": own, "oasis1": own}


def _folded_intervals(scenario: Scenario) -> None:
    for name, setting in (("brain_age", "prediction interval"), ("dementia", "prediction set")):
        scenario.fold(name, 3)
        scenario.train(name)
        row = {"setting": setting, "metric": "coverage", "value": 0.95}
        edit = lambda rows, row=row: pd.concat([rows, rows.head(1).assign(**row)])  # noqa: E731
        scenario.edit(f"results/experiments/{name}/details.tsv", edit)


def with_tissue_models(scenario: Scenario) -> None:
    """Tissue maps on the study's grid, and their model in the tables of both experiments."""
    scenario.config["preprocessing"]["tissue_maps"] = True
    for experiment, trivial, model in (
        ("brain_age", "mean", "tissue_kernel_ridge"),
        ("dementia", "majority", "grey_matter_svm"),
    ):
        scenario.edit(
            f"results/experiments/{experiment}/baselines.tsv",
            lambda rows, trivial=trivial, model=model: pd.concat(
                [rows, rows[rows["model"] == trivial].assign(model=model)]
            ),
        )


def _several_sites(scenario: Scenario, settings: tuple[str, ...]) -> None:
    rows = {"model": "network", "metric": "site_balanced_accuracy", "group": "all"}
    for setting in settings:
        edit = lambda table, setting=setting: pd.concat([table, table.head(1).assign(**rows, setting=setting)])  # noqa: E731
        scenario.edit("results/experiments/brain_age/details.tsv", edit)


def _harmonised(scenario: Scenario) -> None:
    models = ("volumes_combat", "tissue_kernel_ridge_combat")
    edit = lambda rows: pd.concat([rows, *(rows.head(1).assign(model=model) for model in models)])  # noqa: E731
    scenario.edit("results/experiments/brain_age/baselines.tsv", edit)


def _published_start(scenario: Scenario) -> None:
    scenario.experiments["brain_age"]["transfer"] = {"weights": "sfcn_ukb", "frozen_epochs": 0, "thaw_epochs": 0}
    scenario.train("brain_age")


def _published_start_on_its_grid(scenario: Scenario) -> None:
    _published_start(scenario)
    scenario.config["preprocessing"] |= {"shape": [160, 192, 160], "spacing_mm": 1.0}


def _with_gap_models(scenario: Scenario) -> None:
    with_tissue_models(scenario)
    models = ("tissue_amounts", "brain_age_gap")
    edit = lambda rows: pd.concat([rows, *(rows.head(1).assign(model=model) for model in models)])  # noqa: E731
    scenario.edit("results/experiments/dementia/baselines.tsv", edit)


def _learning_curve(scenario: Scenario) -> None:
    scenario.experiments["brain_age"]["transfer"] = {"weights": "dementia", "frozen_epochs": 0, "thaw_epochs": 0}
    scenario.experiments["brain_age"]["learning_curve"] = [20, 10]


OPTIONS = {
    "learning_curve": _learning_curve,
    "gap_models": _with_gap_models,
    "harmonised": _harmonised,
    "sites_from_residuals": lambda scenario: _several_sites(scenario, ("site from residuals",)),
    "sites_from_inputs": lambda scenario: _several_sites(scenario, ("site from residuals", "site from inputs")),
    "sites_from_features": lambda scenario: _several_sites(scenario, ("site from residuals", "site from features")),
    "published start": _published_start,
    "published start on its grid": _published_start_on_its_grid,
    "folded_intervals": _folded_intervals,
    "all_in_space": _all_in_space,
    "two_networks": _two_networks,
    "averaged": training(keep="averaged"),
    "last": training(keep="last"),
    "ema of balanced sites": training(keep="ema", balance_sites=True),
    "patience": training(patience=9),
    "cosine": training(schedule="cosine"),
    "mixup, sgd and mirror images": training(mixup=0.2, optimizer="sgd", mirror_averaging=True),
    "coarse_epochs": training(coarse_epochs=2),
    "no_augmentation": _augmentation_off,
    "synthstrip": preprocessing(brain_extraction="synthstrip", intensity="zscore"),
    "affine by torch": preprocessing(affine="torch"),
    "deformable": preprocessing(registration="deformable", intensity="white_matter_peak"),
    "native space": preprocessing(space="native"),
    "native space, z-scores": preprocessing(space="native", intensity="zscore"),
    "native space, window": _native_window,
    "learned registration": preprocessing(
        registration="learned", learned={"steps": 1500, "learning_rate": 0.001, "seed": 1, "refinement_steps": 10}
    ),
    "learned registration without network": preprocessing(
        registration="learned", learned={"steps": 0, "learning_rate": 0.001, "seed": 1, "refinement_steps": 20}
    ),
    "learned registration without refinement": preprocessing(
        registration="learned", learned={"steps": 2000, "learning_rate": 0.001, "seed": 1, "refinement_steps": 0}
    ),
    "modalities": _modalities,
    "patches": _patches,
    "patches around structures": _structures,
    "swinunetr": _swin,
    "auxiliary": _auxiliary,
    "painted": _painted,
    "painted only": _painted_only,
    "elsewhere": _elsewhere,
    "lacking": _lacking,
    "several_starts": _several_starts,
    "plain_regression": _plain_regression,
    "tissue_maps": with_tissue_models,
    "modulated_gm": preprocessing(tissue_maps=True, modulated_gm=True),
    "modulated_gm, deformable": preprocessing(tissue_maps=True, modulated_gm=True, registration="deformable"),
}
