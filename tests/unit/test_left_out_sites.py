"""Leaving a site out: nobody of it is trained on, and everybody of it is tested."""

import pandas as pd
import pytest
from neurocohort.dataset.leakage import check_no_leakage
from neurocohort.dataset.sites import without_site
from neurocohort.errors import InputError
from neurocohort.study.configuration import check_configuration, load_configuration
from neurocohort.study.members import all_experiments

PARTS = ["train", "train", "validation", "held-out", "train", "validation", "held-out"]
SITES = ["Guys", "Guys", "Guys", "Guys", "HH", "HH", "HH"]


def samples(**columns) -> pd.DataFrame:
    table = pd.DataFrame(
        {"cohort": "ixi", "participant_id": [f"sub-{i}" for i in range(7)], "part": PARTS, "site": SITES}
    )
    table["fold"] = pd.array([1, 2, 1, pd.NA, 2, 1, pd.NA], dtype="Int64")
    return table.assign(**columns)


def test_everybody_of_the_site_is_tested_and_nobody_trained_on():
    left = without_site(samples(), "HH")
    assert left["part"].tolist() == [*PARTS[:4], "external", "external", "external"]
    assert left.loc[left["site"] == "HH", "fold"].isna().all() and left["fold"].tolist()[:3] == [1, 2, 1]


def test_participant_of_two_sites_is_on_one_side():
    repeated = samples(participant_id=["a", "a", "c", "d", "e", "f", "g"], site=["Guys", "HH", *SITES[2:]])
    repeated = pd.concat([repeated, repeated.iloc[[0]].assign(participant_id="z")], ignore_index=True)
    left = without_site(repeated, "HH")
    assert left.loc[left["participant_id"] == "a", "part"].tolist() == ["external", "external"]
    check_no_leakage(left.assign(scan_id=range(8), voxels_sha256=[str(i) for i in range(8)]))


def test_site_that_nobody_is_of_is_refused_with_those_there_are():
    with pytest.raises(InputError, match=r"'Hammersmith'.*Guys, HH"):
        without_site(samples(), "Hammersmith")


def test_the_only_site_cannot_be_left_out():
    with pytest.raises(InputError, match="no sample is left in the part 'train'"):
        without_site(samples(site="Guys"), "Guys")


def test_configuration_makes_an_experiment_a_site(repository):
    config = load_configuration([repository / "config" / "config.yaml"])
    config["experiments"]["brain_age"]["leave_one_site_out"] = ["Guys", "HH"]
    checked = check_configuration(config, source="config.yaml")["experiments"]
    checked["brain_age"]["leave_one_site_out"] = ["Guys", "Site 2 (3T)"]
    found = all_experiments(checked)
    left_out = {name: experiment["left_out_site"] for name, experiment in found.items() if experiment["left_out_site"]}
    assert left_out == {"brain_age_without-Guys": "Guys", "brain_age_without-Site-2-3T-": "Site 2 (3T)"}
    config["experiments"]["brain_age"]["leave_one_site_out"] = ["Site 2", "Site-2"]
    with pytest.raises(InputError, match="names differ only in special characters"):
        check_configuration(config, source="config.yaml")
