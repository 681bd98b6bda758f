"""Adaptation to new sites: what is compared with what, on which scans, and what the table has."""

import copy

import numpy as np
import pandas as pd
import pytest
from configurations import refusal
from evaluation_samples import QUICK, aged, rated
from neurocohort.errors import InputError
from neurocohort.evaluation.adaptation import ABSENT, LEARNED_NOTHING, TOO_FEW_PEOPLE, Method, adaptation
from neurocohort.files import read_table, write_table
from neurocohort.study.adaptation import NewSite, adapted_cohorts, new_sites
from neurocohort.study.adaptation_methods import methods_of
from neurocohort.study.configuration import check_configuration, load_configuration
from neurocohort.study.members import all_experiments

SITES = ["Guys", "HH"]


def study(repository, **changes) -> dict:
    """The demo's brain age with two sites left out, and an adversarial one that it is compared with; not checked."""
    config = load_configuration([repository / "config" / "config.yaml"])
    first = config["experiments"]["brain_age"] | {"cohorts": ["ixi"], "external": [], "filter": ""}
    first["leave_one_site_out"] = SITES
    other = copy.deepcopy(first)
    other["training"]["adversarial_site"] = 0.1
    wanted = {"experiments": ["adversarial"], "batch_norm": True}
    config["experiments"] = {"plain": first | {"adaptation": wanted} | changes, "adversarial": other}
    return config


def test_networks_of_each_new_site_are_compared_and_no_network_depends_on_the_comparison(repository):
    checked = check_configuration(study(repository), source="config.yaml")["experiments"]
    assert new_sites(checked, "plain") == [
        NewSite(site, ["ixi"], {"plain": f"plain_without-{site}", "adversarial": f"adversarial_without-{site}"})
        for site in SITES
    ]
    assert new_sites(checked, "adversarial") == []
    assert adapted_cohorts(checked) == {"plain_without-Guys": ["ixi"], "plain_without-HH": ["ixi"]}
    every = all_experiments(checked)
    assert len(every) == 6 and not any("adaptation" in one for one in every.values())
    config = study(repository, leave_one_site_out=[], external=["oasis1"])
    config["experiments"]["adversarial"] |= {"leave_one_site_out": [], "external": ["oasis1"]}
    outside = check_configuration(config, source="config.yaml")["experiments"]
    both = {"plain": "plain", "adversarial": "adversarial"}
    assert new_sites(outside, "plain") == [NewSite("", ["oasis1"], both)]
    assert adapted_cohorts(outside) == {"plain": ["oasis1"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"leave_one_site_out": []}, "has neither `leave_one_site_out` nor `external`"),
        ({"adaptation": {}}, "has nothing to compare with"),
        (
            {"adaptation": {"experiments": ["other"]}},
            "names `other`, which is no experiment; the others are adversarial",
        ),
        ({"adaptation": {"experiments": ["plain"]}}, "names `plain`, which is this experiment itself"),
        ({"filter": "age > 30"}, "names `adversarial`, which differs in filter"),
        (
            {"network": {"name": "sfcn", "norm": "group"}},
            "is true, and `experiments.plain.network` is sfcn with norm group, which has no batch norm",
        ),
        ({"network": {"name": "vit"}, "adaptation": {"batch_norm": True}}, "network` is vit, which has no batch norm"),
    ],
)
def test_what_can_not_be_compared_is_refused_with_what_to_do(repository, changes, message):
    assert message in refusal(study(repository, **changes))


def test_a_segmentation_and_test_folds_are_refused(repository):
    config = study(repository)
    config["split"]["test_folds"] = 3
    assert "`experiments.plain.adaptation` needs one held-out part, and `split.test_folds` is 3" in refusal(config)
    config = load_configuration([repository / "config" / "config.yaml"])
    config["experiments"]["tissue"]["adaptation"] = {"batch_norm": True}
    assert "is for regression and classification, and this experiment's task is segmentation" in refusal(config)


def at(site: str, noise: float, count: int = 24, seed: int = 1) -> pd.DataFrame:
    """Ages of the external participants of a site, with predictions that are ``noise`` years off."""
    table = aged(count, "external", seed=3).assign(site=site)
    table[["scan_id", "participant_id"]] = table[["scan_id", "participant_id"]].add(site)
    errors = np.random.default_rng(seed).normal(0, noise, count)
    return table.assign(prediction=table["target"] + errors)


def methods(**tables: dict) -> list[Method]:
    """A reference ``plain`` and the methods ``tables`` that are compared with it."""
    plain = Method("reference", "plain", "", {("a", site): at(site, 8, seed=2) for site in SITES})
    return [plain, *(Method("experiment", name, "plain", found) for name, found in tables.items())]


def test_each_method_has_its_difference_to_the_reference_at_each_site_and_at_all():
    better = {("a", site): at(site, 2) for site in SITES}
    table = adaptation(methods(better=better), "regression", QUICK)
    mae = table[table["metric"] == "mae"].set_index(["method", "site"])
    assert list(mae.index) == [(name, site) for name in ("plain", "better") for site in (*SITES, "all")]
    for site in (*SITES, "all"):
        row, reference = mae.loc["better", site], mae.loc["plain", site]
        assert row["difference"] == pytest.approx(row["value"] - reference["value"], abs=2e-6)
        assert row["difference_low"] < row["difference"] < row["difference_high"] < 0
        assert np.isnan(reference["difference"]) and row["n"] == reference["n"] == (48 if site == "all" else 24)
    errors = [abs(one["prediction"] - one["target"]) for one in better.values()]
    assert mae.loc[("better", "all"), "value"] == pytest.approx(pd.concat(errors).mean(), abs=1e-6)
    assert (mae["cohort"] == "a").all() and table["note"].eq("").all()
    signed = table[(table["metric"] == "bias") & (table["method"] == "better")]
    assert len(signed) == 3 and signed["difference"].isna().all(), "neither direction of a bias is better"


def test_only_scans_that_both_have_are_compared_and_what_lacks_is_noted():
    fewer = {("a", "Guys"): at("Guys", 2).head(10)}
    found = adaptation(methods(fewer=fewer, none={}, two={("a", "HH"): at("HH", 2).head(2)}), "regression", QUICK)
    own = found[found["method"] == "fewer"].set_index(["site", "metric"])
    assert own.loc[("Guys", "mae"), "n"] == own.loc[("all", "mae"), "n"] == 10
    assert own.loc[("all", "mae"), "note"] == "Without HH, of which there are no predictions."
    assert (own.loc["HH", "note"] == ABSENT).all() and own.loc["HH", "value"].isna().all()
    assert (found.loc[found["method"] == "none", "note"] == ABSENT).all()
    assert TOO_FEW_PEOPLE in set(found.loc[found["method"] == "two", "note"])


def test_networks_that_learned_nothing_are_noted():
    plain, other = methods(other={("a", "Guys"): at("Guys", 2)})
    other.learned_nothing.add(("a", "Guys"))
    found = adaptation([plain, other], "regression", QUICK)
    assert LEARNED_NOTHING in found[(found["method"] == "other") & (found["site"] == "Guys")]["note"].iloc[0]


def test_a_classification_is_compared_too():
    plain, other = (
        Method(kind, kind, of, {("a", "x"): rated(40, "external", apart=apart)})
        for kind, of, apart in (("reference", "", 0.5), ("experiment", "reference", 4.0))
    )
    found = adaptation([plain, other], "classification", QUICK).set_index(["method", "metric"])
    row = found.loc[("experiment", "auc")]
    assert row["difference"] > 0 and row["difference_low"] > 0 and row["site"] == "x"


def test_predictions_are_read_from_the_experiment_that_left_the_site_out(tmp_path):
    sites = []
    for site in SITES:
        own = {"plain": f"plain_without-{site}", "other": f"other_without-{site}"}
        sites.append({"site": site, "cohorts": ["a"], "experiments": own})
        for name, folder in own.items():
            table = at(site, 8 if name == "plain" else 2)
            elsewhere = at("Elsewhere", 1, 5)  # scans of the site's participants at another one
            held_out = at(site, 1).assign(part="held-out")
            rows = pd.concat([table, elsewhere, held_out, table.assign(cohort="other")])
            write_table(tmp_path / folder / "predictions.tsv", rows)
            learned = "no" if (name, site) == ("other", "HH") else "yes"
            write_table(tmp_path / folder / "networks.tsv", pd.DataFrame({"learned": [learned]}))
            models = pd.concat([table.assign(model=model) for model in ("mean", "volumes", "volumes_combat")])
            write_table(tmp_path / folder / "baselines.tsv", models)
            write_table(tmp_path / folder / "adapted.tsv", table.head(0 if site == "HH" else None))
    found = methods_of(tmp_path, sites, batch_norm=True)
    assert [(one.kind, one.name, one.compared_with) for one in found] == [
        ("reference", "plain", ""),
        ("experiment", "other", "plain"),
        ("batch_norm", "plain", "plain"),
        ("baseline", "volumes", ""),
        ("baseline", "volumes_combat", "volumes"),
    ]
    places = [("a", "Guys"), ("a", "HH")]
    assert [list(one.tables) for one in found] == [places, places, places[:1], places, places]
    assert all(len(table) == 24 for one in found for table in one.tables.values())
    assert found[1].learned_nothing == {("a", "HH")} and not found[0].learned_nothing
    assert [one.kind for one in methods_of(tmp_path, sites, batch_norm=False)] == [
        *("reference", "experiment", "baseline", "baseline")
    ]
    for site in SITES:
        path = tmp_path / f"plain_without-{site}" / "baselines.tsv"
        write_table(path, read_table(path).query("model == 'volumes'"))
    none = methods_of(tmp_path, sites, batch_norm=False, combat=True)[-1]
    assert (none.kind, none.name, none.compared_with, none.tables) == ("baseline", "volumes_combat", "volumes", {})
    table = adaptation([found[0], none], "regression", QUICK)
    assert table.loc[table["kind"] == "baseline", "note"].tolist() == [ABSENT] * 3
    (tmp_path / "plain_without-Guys" / "adapted.tsv").unlink()
    with pytest.raises(InputError, match=r"adapted\.tsv"):
        methods_of(tmp_path, sites, batch_norm=True)
