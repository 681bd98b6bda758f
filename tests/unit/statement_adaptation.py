"""What the report says about made-up comparisons at new sites."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
from neurocohort.evaluation.adaptation import Method, Place
from neurocohort.evaluation.adaptation import adaptation as made_table
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.report.adaptation import adaptation
from neurocohort.report.part import Content
from statement_study import Scenario

PEOPLE = 16


def predicted(error: float, site: str, seed: int, count: int = PEOPLE) -> pd.DataFrame:
    """Ages of a site's participants with predictions that differ from them by about ``error`` years."""
    ages = np.linspace(20, 80, PEOPLE)
    differences = error * (1 + 0.2 * np.random.default_rng(seed).normal(size=PEOPLE)) * np.resize([-1, 1], PEOPLE)
    names = [f"{site}{number}" for number in range(PEOPLE)]
    table = pd.DataFrame({"cohort": "mine", "scan_id": names, "participant_id": names})
    return table.assign(target=ages, prediction=ages + differences).head(count)


def method(
    kind: str, name: str, compared_with: str, error: float, sites: tuple[str, ...], count: int = PEOPLE
) -> Method:
    tables: dict[Place, pd.DataFrame] = {
        ("mine", site): predicted(error, site, len(name) + place, count) for place, site in enumerate(sites)
    }
    return Method(kind, name, compared_with, tables)


def said(*methods: Method, change: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table) -> list[str]:
    """What the page has on the comparison of ``methods``."""
    table, content = change(made_table(methods, "regression", Bootstrap(100, 1))), Content()
    experiment = SimpleNamespace(adaptation=table, target="age")
    adaptation(SimpleNamespace(experiment=experiment, headline_metric="mae"), content)
    tables = [text for one in content.details for text in (one.caption, one.summary)]
    return [*content.sentences, *tables, *map(str, table["note"].unique())]


def gain_and_loss() -> list[str]:
    """A method that is better at two sites, one that is worse, and one that lacks a site and learned nothing."""
    sites = ("north", "south")
    failed = method("experiment", "failed", "plain", 5, sites[:1])
    failed.learned_nothing.add(("mine", "north"))
    return said(
        method("reference", "plain", "", 5, sites),
        method("experiment", "better", "plain", 1, sites),
        method("experiment", "worse", "plain", 9, sites),
        failed,
        method("batch_norm", "plain", "plain", 1, sites),
        method("baseline", "volumes_combat", "volumes", 1, ()),
    )


def one_site() -> list[str]:
    sites = ("north",)
    return said(
        method("reference", "plain", "", 5, sites),
        method("experiment", "other", "plain", 5, sites),
        method("baseline", "volumes", "", 5, sites),
        method("baseline", "volumes_combat", "volumes", 5, sites),
    )


def without_interval() -> list[str]:
    own = method("experiment", "other", "plain", 5, ("north",))
    change = lambda table: table.assign(difference_low=np.nan, difference_high=np.nan)  # noqa: E731
    return said(method("reference", "plain", "", 5, ("north",)), own, change=change)


def of_two_people() -> list[str]:
    own = method("experiment", "other", "plain", 5, (), 2)
    return said(method("reference", "plain", "", 5, ("north",), 2), own)


def _adversarial(scenario: Scenario) -> None:
    scenario.experiments["dementia"]["training"]["adversarial_site"] = 0.1
    scenario.train("dementia", adversarial_sites={"oasis1": 9, "ixi Guys": 7})


def _adaptation(batch_norm: bool) -> Callable[[Scenario], None]:
    def change(scenario: Scenario) -> None:
        wanted = {"experiments": ["other"], "batch_norm": batch_norm}
        scenario.experiments["brain_age"]["adaptation"] = wanted

    return change


def _random_intensities(scenario: Scenario) -> None:
    scenario.experiments["dementia"]["training"]["augmentation"]["histogram"] = 0.7
    scenario.train("dementia")


ADAPTATION: dict[str, Callable[[], list[str]]] = {
    "adaptation_gain": gain_and_loss,
    "adaptation_open": one_site,
    "adaptation_without_interval": without_interval,
    "adaptation_of_nobody": of_two_people,
}
ADAPTATION_OPTIONS: dict[str, Callable[[Scenario], None]] = {
    "adversarial": _adversarial,
    "adaptation": _adaptation(False),
    "adaptation by batch norm": _adaptation(True),
    "random intensities": _random_intensities,
}
