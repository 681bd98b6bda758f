"""What the report says about made-up translations."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.translation import NETWORK, translation_table
from neurocohort.evaluation.translation_baselines import BASELINES
from neurocohort.files import write_json, write_table
from neurocohort.learning.translated_files import write_slices
from neurocohort.report.translation import _gain, _learned_from, _table
from neurocohort.settings.translation import Translation
from neurocohort.study.members import training_settings
from statement_study import Scenario

PEOPLE = 12


def scores(network: float, spread: float = 0.2) -> pd.DataFrame:
    """scores.tsv: the PSNR of the network is about ``network``, and that of the baselines 20."""
    generator, tables = np.random.default_rng(1), []
    names = [f"p{number:02d}" for number in range(PEOPLE)]
    for model in (NETWORK, *BASELINES):
        psnr = (network if model == NETWORK else 20.0) + spread * generator.normal(size=PEOPLE)
        table = pd.DataFrame({"model": model, "cohort": "ixi", "part": "held-out", "scan_id": names})
        tables.append(table.assign(participant_id=names, psnr=psnr, ssim=psnr / 30, mae=1 / psnr))
    return pd.concat(tables, ignore_index=True)


def made(network: float) -> pd.DataFrame:
    return translation_table(scores(network), Bootstrap(100, 1))


def said(table: pd.DataFrame) -> list[str]:
    return [_gain(table, "IXI", "held-out"), _table(table).caption]


def _add(scenario: Scenario, name: str, wanted: Translation, network: float, members: int = 1) -> None:
    """Add a translation with its networks, its metrics and slices."""
    training = scenario.experiments["brain_age"]["training"] | {"seeds": list(range(1, members + 1))}
    settings = {"task": "translation", "target": "T2w", "cohorts": ["ixi"], "external": [], "modalities": ["T1w"]}
    settings |= {"network": {"name": "unet", "channels": [4, 8]}, "filter": "", "training": training, "sweep": None}
    settings |= {"translation": wanted.as_dict()}
    folder = scenario.folder(name)
    history = pd.DataFrame({"epoch": [1, 2], "train_loss": [1.0, 0.9], "validation_loss": [1.0, 0.9], "best": [0, 1]})
    for number in range(1, members + 1):
        member = f"seed-{number}"
        own = training_settings({"permutation": 0, **settings}, member).as_dict()
        record = {"settings": own, "task": {"kind": "translation", "method": wanted.method}, "parameters": 4321}
        record |= {"epochs_run": 12, "best_epoch": 7, "seed": number, "device": "cpu"}
        write_json(folder / member / "run.json", record)
        write_table(folder / member / "history.tsv", history)
    write_table(folder / "networks.tsv", pd.DataFrame())
    write_table(folder / "translation.tsv", made(network))
    write_slices(folder / "examples.npz", [np.zeros((4, 8, 8), dtype=np.uint8)], ["p00"])
    scenario.experiments[name] = settings


def translated(scenario: Scenario) -> str:
    """A translation from pairs with a discriminator, and a CycleGAN."""
    _add(scenario, "adversarial", Translation(adversarial=0.1), 22)
    _add(scenario, "cycle", Translation(method="unpaired"), 18)
    _add(scenario, "plain_cycle", Translation(method="unpaired", identity=0.0), 20)
    return scenario.page()


def from_pairs(scenario: Scenario) -> str:
    """A translation from pairs alone."""
    _add(scenario, "pairs", Translation(), 22)
    return scenario.page()


def learned(method: str) -> list[str]:
    settings = {"modalities": ["T1w"], "translation": {"method": method}}
    return [_learned_from(SimpleNamespace(settings=settings, target="T2w"))]


TRANSLATION_PAGES: tuple[Callable[[Scenario], str], ...] = (translated, from_pairs)
TRANSLATION_PIECES: dict[str, Callable[[], list[str]]] = {
    "translation_better": lambda: said(made(22)),
    "translation_worse": lambda: said(made(18)),
    "translation_open": lambda: said(made(20)),
    "translation_without_interval": lambda: said(made(22).assign(difference_low=np.nan)),
    "translation_of_nothing": lambda: [_gain(made(22).assign(best="no"), "IXI", "held-out")],
    "translation_of_pairs": lambda: learned("paired"),
    "translation_of_others": lambda: learned("unpaired"),
}
