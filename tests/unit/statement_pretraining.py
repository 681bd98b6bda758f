"""What the report says about made-up pretrainings."""

from collections.abc import Callable
from types import SimpleNamespace

import pandas as pd
from neurocohort.files import write_json, write_table
from neurocohort.report.pretraining import start_sentence
from neurocohort.settings.pretraining import Pretraining
from neurocohort.study.members import training_settings
from statement_study import Scenario

NETWORK = {"name": "sfcn", "channels": [8, 16, 32]}
TRANSFER = {"weights": "scans", "frozen_epochs": 0, "thaw_epochs": 0}


def pretrained(scenario: Scenario) -> str:
    """Two pretrainings, of which one is the start of an experiment; another one learned nothing."""
    _add(scenario, "scans", loss=0.4, baseline=0.5)
    _add(scenario, "views", Pretraining(method="contrastive"), loss=1.0, baseline=2.0)
    _add(scenario, "worse", loss=0.6, baseline=0.5)
    _add(scenario, "chance", Pretraining(method="contrastive"), loss=2.0, baseline=2.0)
    _add(scenario, "diverged", loss=None, baseline=2.0)
    scenario.experiments["brain_age"]["transfer"] = TRANSFER
    return scenario.page()


def pretrained_through_another(scenario: Scenario) -> None:
    """A start that goes back to a pretraining, whose method hides nothing and cuts nothing out."""
    _add(scenario, "scans", Pretraining(mask_value="noise"), loss=0.4, baseline=0.5)
    _add(scenario, "views", Pretraining(method="contrastive", crop=1.0, cutout=0.0), loss=1.0, baseline=2.0)
    scenario.experiments["dementia"]["transfer"] = TRANSFER
    scenario.experiments["brain_age"]["transfer"] = TRANSFER | {"weights": "dementia"}


def start_through_another() -> list[str]:
    experiments = {
        "scans": {"task": "pretraining"},
        "dementia": {"task": "classification", "transfer": {"weights": "scans"}},
        "age": {"task": "regression", "transfer": {"weights": "dementia"}},
    }
    study = SimpleNamespace(configuration={"experiments": experiments})
    one = SimpleNamespace(name="age", settings=experiments["age"])
    return [start_sentence(study, one)]


def _add(
    scenario: Scenario, name: str, wanted: Pretraining | None = None, *, loss: float | None, baseline: float
) -> None:
    """Add a pretraining with one network, and the records of its training."""
    wanted = wanted or Pretraining()
    training = dict(scenario.experiments["brain_age"]["training"])
    settings = {"task": "pretraining", "target": "", "cohorts": ["ixi"], "external": [], "network": NETWORK}
    settings |= {
        "modalities": ["T1w"],
        "filter": "",
        "training": training,
        "pretraining": wanted.as_dict(),
        "sweep": None,
    }
    folder = scenario.folder(name) / "seed-1"
    own = training_settings({"permutation": 0, **settings}, "seed-1").as_dict()
    counts = {"training_scans": 20, "training_participants": 18, "validation_scans": 4, "validation_participants": 4}
    record = {"settings": own, "task": {"kind": "pretraining", "method": wanted.method}, "parameters": 4321}
    record |= {"epochs_run": 12, "best_epoch": None if loss is None else 7, "seed": 1, "device": "cpu"}
    record |= {"pretraining": {"validation_loss": loss, "baseline_loss": baseline, **counts}}
    write_json(folder / "run.json", record)
    history = pd.DataFrame({"epoch": [1, 2], "train_loss": [1.0, 0.9], "validation_loss": [1.0, 0.9], "best": [0, 1]})
    write_table(folder / "history.tsv", history)
    scenario.experiments[name] = settings


PRETRAINING_PAGES: tuple[Callable[[Scenario], str], ...] = (pretrained,)
PRETRAINING_OPTIONS: dict[str, Callable[[Scenario], None]] = {"pretrained indirectly": pretrained_through_another}
PRETRAINING_PIECES: dict[str, Callable[[], list[str]]] = {"start through another": start_through_another}
