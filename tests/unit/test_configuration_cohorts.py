"""Cohorts and variables of a configuration are checked against the sources and the user's own data."""

import re

import pytest
import yaml
from configurations import (
    AGE,
    ROOT,
    SOURCE,
    changed,
    refusal,
    study,
)
from neurocohort.dataset.filters import filter_columns
from neurocohort.errors import InputError
from neurocohort.study.cohorts import KEYS_OF_SOURCE
from neurocohort.study.configuration import check_configuration


@pytest.fixture
def own_cohorts(tmp_path):
    """A BIDS folder, a CAPS folder and a table with the variables that the examples use."""
    for person in ("01", "02", "03"):
        (tmp_path / "bids" / f"sub-{person}" / "anat").mkdir(parents=True)
        (tmp_path / "bids" / f"sub-{person}" / "anat" / f"sub-{person}_T1w.nii.gz").touch()
    rows = "sub-01\t60\tCN\nsub-02\t70\tAD\nsub-03\t80\tMCI\n"
    (tmp_path / "bids" / "participants.tsv").write_text("participant_id\tage\tdiagnosis\n" + rows)
    for person in ("01", "02", "03"):
        folder = tmp_path / "caps" / "subjects" / f"sub-{person}" / "ses-M000" / "t1_linear"
        folder.mkdir(parents=True)
        (folder / f"sub-{person}_ses-M000_space-MNI152NLin2009cSym_res-1x1x1_T1w.nii.gz").touch()
    labels = "participant_id\tsession_id\tdiagnosis\nsub-01\tses-M000\tCN\nsub-02\tses-M000\tAD\nsub-03\tses-M000\tAD\n"
    (tmp_path / "labels.tsv").write_text(labels)
    (tmp_path / "a.nii").touch()
    (tmp_path / "scans.csv").write_text("participant_id,path,age\nA,a.nii,60.5\nB,b.nii,61\nC,c.nii,62\n")
    return tmp_path


def test_the_readme_has_a_whole_example_of_each_source_and_each_is_valid(own_cohorts):
    readme = (ROOT / "config/README.md").read_text(encoding="utf-8")
    sources = set()
    for block in re.findall(r"```yaml\n(study:.*?)```", readme, flags=re.S):
        block = block.replace("/data/clinic/bids", str(own_cohorts / "bids")).replace("/data/adni", str(own_cohorts))
        config = yaml.safe_load(block.replace("/archive/scans.csv", str(own_cohorts / "scans.csv")))
        if "models" in config:  # needs a trained model: see test_applied_models.py
            continue
        check_configuration(config, source=SOURCE)
        sources |= {cohort["source"] for cohort in config["cohorts"].values()}
    assert sources == set(KEYS_OF_SOURCE)


def test_variables_of_a_folder_or_table_of_ones_own_are_known_before_anything_runs(own_cohorts):
    bids = {"source": "bids", "path": str(own_cohorts / "bids")}
    table = {"source": "table", "path": str(own_cohorts / "scans.csv")}
    assert "`education`, which isn't a variable" in refusal(study(bids, target="education"))
    assert "name two of its values under `classes`" in refusal(study(bids, task="classification", target="diagnosis"))
    check_configuration(study(bids, task="classification", target="diagnosis", classes=["CN", "AD"]), source=SOURCE)
    assert "names `height`" in refusal(study(table, filter="height > 1"))


def test_a_users_folder_is_not_read_where_its_study_was_checked_before(own_cohorts, monkeypatch):
    def read(*_):
        raise AssertionError("the folder is read")

    monkeypatch.setattr("neurocohort.study.configuration.survey_of_cohort", read)
    bids = {"source": "bids", "path": str(own_cohorts / "bids")}
    checked = check_configuration(study(bids), source=SOURCE, read_cohorts=False)
    assert checked["cohorts"]["own"]["pattern"], "the defaults are filled in"


@pytest.mark.parametrize(
    ("cohort", "parts"),
    [
        ({"source": "bids"}, "`cohorts.own.path` is missing; expected the folder with the sub-* folders"),
        ({"source": "bids", "path": "nowhere"}, "which is not there"),
        ({"source": "table", "path": "."}, "which is a folder"),
        (
            {"source": "ixi", "path": "."},
            "is only for cohorts with `source: bids` or `source: caps` or `source: table`",
        ),
        ({"source": "caps", "path": "nowhere"}, "expected the CAPS folder, which has the folder subjects"),
        ({"source": "caps", "path": ".", "pattern": "*"}, "is only for cohorts with `source: bids`"),
        ({"source": "bids", "path": ".", "participants_tsv": "a.tsv"}, "is only for cohorts with `source: caps`"),
        ({"source": "caps", "path": ".", "modalities": ["T1w", "FLAIR"]}, "a cohort with `source: caps` has T1w"),
        ({"source": "ixi", "modalities": ["T2w", "T1w"]}, "begins with T2w; expected T1w first"),
        ({"source": "ixi", "modalities": ["T1w", "FLAIR"]}, "has T1w, T2w, PDw"),
        ({"source": "ixi", "split_file": "nowhere.tsv"}, "isn't a file"),
    ],
)
def test_a_cohort_whose_keys_do_not_go_with_its_source_is_refused(cohort, parts):
    assert parts in refusal(study(cohort))


def test_channels_must_be_there_in_each_cohort():
    assert "`cohorts.own.modalities` has T1w" in refusal(study({"source": "ixi"}, modalities=["T1w", "T2w"]))
    check_configuration(study({"source": "ixi", "modalities": ["T1w", "T2w"]}, modalities=["T2w"]), source=SOURCE)


def test_tissue_maps_are_channels_only_where_the_study_has_them():
    wanted = study({"source": "ixi"}, modalities=["T1w", "GM"])
    assert "has GM, which need `preprocessing.tissue_maps: true`" in refusal(wanted)
    check_configuration(wanted | {"preprocessing": {"tissue_maps": True}}, source=SOURCE)


def test_modulated_grey_matter_is_a_channel_only_where_it_can_be_had(own_cohorts):
    wanted = study({"source": "ixi"}, modalities=["T1w", "GM_modulated"])
    assert "has GM_modulated, which needs `preprocessing.modulated_gm: true`" in refusal(wanted)
    alone = {"preprocessing": {"modulated_gm": True}}
    assert "`preprocessing.modulated_gm` is true, which needs `preprocessing.tissue_maps: true`" in refusal(
        wanted | alone
    )
    both = {"preprocessing": {"modulated_gm": True, "tissue_maps": True}}
    check_configuration(wanted | both, source=SOURCE)
    own = {"source": "bids", "path": str(own_cohorts / "bids"), "skull_stripped": True, "mni_space": True}
    assert "`cohorts.own.mni_space` is true" in refusal(study(own, modalities=["GM_modulated"]) | both)
    check_configuration(study(own, modalities=["GM"]) | both, source=SOURCE)


def test_classes_are_for_classification():
    assert "`experiments.e.classes` is only for classification" in refusal(study({"source": "ixi"}, classes=["F", "M"]))


def test_a_filter_may_use_a_variable_that_only_one_of_the_cohorts_has(demo_study):
    check_configuration(changed(demo_study, f"{AGE}.filter", "age >= 18 and not cdr > 0"), source=SOURCE)


def test_known_columns_take_the_place_of_the_sources_table(demo_study):
    columns = {"oasis1": {"participant_id", "age", "sex", "dseg_path"}}
    message = refusal(demo_study, variables=columns)
    assert "`experiments.dementia.target` is `dementia`" in message and "tissue" not in message


def test_filter_columns_are_the_names_in_it():
    assert filter_columns("age >= 18 and (site in ['HH', \"Guys\"] or not cdr > -1)") == {"age", "site", "cdr"}
    for refused in (
        "age.max() > 1",
        "__import__('os') == 1",
        "age > 1 & sex == 'F'",
        "age",
        "[x for x in age]",
        "age is None",
    ):
        with pytest.raises(InputError, match="a filter compares variables"):
            filter_columns(refused)
