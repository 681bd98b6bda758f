"""`neurocohort bids`: which scans are applied, what is written, and how results of several processes come together."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bids_place import Place
from bids_validator import errors_of
from neurocohort.apply.bids_app import ignored, layout, participants, validation
from neurocohort.apply.bids_app.group import collect
from neurocohort.apply.bids_app.participants import Request, apply_models
from neurocohort.apply.bids_app.scans import Selection, read_dataset, selected
from neurocohort.apply.one_scan import Options
from neurocohort.apply.outcomes import PREDICTED, Outcome
from neurocohort.cli.bids_app import repeated
from neurocohort.errors import InputError
from neurocohort.imaging.volume import Volume
from raw_scan_bundle import write_raw_scan_bundle, write_template

AGES = {"sub-01": 30, "sub-02": 60, "sub-03": 50}
FLAGS = ("--strict", "--skip-bids-validation")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    return write_raw_scan_bundle(folder, write_template(folder))


@pytest.fixture
def place(tmp_path):
    """Two participants with two sessions, of which one has two runs, and one with a T2-weighted image only."""
    made = Place(tmp_path)
    for name in ("sub-01_ses-1_T1w", "sub-01_ses-2_run-1_T1w", "sub-01_ses-2_run-2_T1w", "sub-02_ses-1_T1w"):
        made.put(f"{name[:6]}/{name[7:12]}/anat/{name}.nii.gz")
    made.put("sub-02/ses-2/anat/sub-02_ses-2_T1w.nii.gz")
    made.put("sub-03/ses-1/anat/sub-03_ses-1_T2w.nii.gz")
    made.put("participants.tsv", [("participant_id", "age", "sex"), *((one, age, "F") for one, age in AGES.items())])
    made.put("dataset_description.json", {"Name": "Heads", "BIDSVersion": "1.10.0", "License": "CC0"})
    made.put("README.md", "Heads.\n")
    return made


@pytest.fixture
def forty_years(monkeypatch):
    """Every scan is predicted as 40 years, with a label map, without its preprocessing."""

    def outcomes_of(bundle, scans, options):
        labels = Volume(np.ones((4, 5, 6), dtype=np.uint8), np.diag([2.0, 2.0, 2.0, 1.0]))
        return (
            Outcome(scan, PREDICTED, prediction={"prediction": 40.0, "spread": 0.5}, labels=labels) for scan in scans
        )

    monkeypatch.setattr(participants, "outcomes_of", outcomes_of)


def request(place, bundle, *people, run="first", models=True):
    return Request(place.source, place.folder, [bundle] if models else [], Selection(people), run)


def apply(place, bundle, *people, run="first"):
    return apply_models(request(place, bundle, *people, run=run), Options(), "cpu")


def group(place, bundle, *people):
    groups = collect(request(place, bundle, *people, models=False))
    table = pd.read_csv(place.folder / "predictions.tsv", sep="\t", keep_default_na=False, dtype=str)
    return groups, table


@pytest.mark.parametrize(("run", "names"), [("first", ["_run-1"]), ("last", ["_run-2"]), ("all", ["_run-1", "_run-2"])])
def test_scans_have_the_ages_of_their_participants(place, run, names):
    found = read_dataset(place.source, run=run)
    expected = ["sub-01_ses-1", *(f"sub-01_ses-2{name}" for name in names), "sub-02_ses-1", "sub-02_ses-2"]
    assert [one.scan.scan_id for one in found.scans] == expected
    assert {one.participant_id: one.scan.age for one in found.scans} == {"sub-01": 30, "sub-02": 60}
    assert [(one.participant_id, one.session_id, one.reason) for one in found.left_out] == [
        ("sub-03", "ses-1", "There is no T1-weighted image.")
    ]


def test_image_in_bidsignore_is_left_out_before_the_choice(place):
    place.put(".bidsignore", "# faulty\n*_run-1_T1w.nii.gz\n/sub-02/ses-2/\n")
    found = read_dataset(place.source)
    assert [one.scan.scan_id for one in found.scans] == ["sub-01_ses-1", "sub-01_ses-2_run-2", "sub-02_ses-1"]
    assert any(".bidsignore" in note.note for note in found.notes)


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.txt", "a/b.txt", True),
        ("/*.txt", "a/b.txt", False),
        ("b", "a/b/c", True),
        ("b/", "a/b", False),
        ("a/*/c", "a/b/c", True),
        ("a/**/d", "a/b/c/d", True),
        ("sub-[!0]*", "sub-01", False),
        ("*.txt\n!b.txt", "a/b.txt", False),
    ],
)
def test_bidsignore_has_the_patterns_of_gitignore(tmp_path, pattern, path, expected):
    (tmp_path / ".bidsignore").write_text(pattern)
    assert ignored.reader_of(tmp_path)(path) is expected


@pytest.mark.parametrize("labels", [["01", "sub-02"], ["01,02"], ["01 02"]])
def test_labels_with_and_without_prefix_and_several_in_one_text(place, labels):
    found = selected(read_dataset(place.source), Selection(labels, ["1"]), place.source)
    assert [one.scan.scan_id for one in found.scans] == ["sub-01_ses-1", "sub-02_ses-1"]


@pytest.mark.parametrize(("people", "visits", "name"), [(["9"], [], "sub-9"), ([], ["ses-9"], "ses-9")])
def test_unknown_label_is_named(place, people, visits, name):
    with pytest.raises(InputError, match=f"has no {name}"):
        selected(read_dataset(place.source), Selection(people, visits), place.source)


def test_options_take_several_values_after_the_arguments():
    words = ["in", "out", "participant", "--participant_label", "01", "02", "--strict", "--model", "a", "b"]
    expected = ["--participant_label", "01", "--participant_label", "02", "--strict", "--model", "a", "--model", "b"]
    assert repeated(words, FLAGS) == [*words[:3], *expected]
    before = ["--model", "a", "--strict", "in", "-w", "work", "out", "participant"]
    assert repeated(before, FLAGS) == before


def test_processes_of_disjoint_participants_make_one_valid_dataset(place, bundle, forty_years, tmp_path):
    assert apply(place, bundle, "01", run="all") == 3
    before = {path: path.stat().st_mtime_ns for path in place.folder.rglob("*") if path.is_file()}
    assert apply(place, bundle, "02", run="all") == 2
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    anat = place.folder / "sub-01" / "ses-2" / "anat"
    start = "sub-01_ses-2_run-2_desc-toy"
    endings = {"_dseg.nii.gz", "_dseg.json", "_prediction.json", "_prediction.tsv"}
    assert {path.name for path in anat.glob(f"{start}*")} == {f"{start}{ending}" for ending in endings}
    groups, table = group(place, bundle)
    people = pd.read_csv(place.source / "participants.tsv", sep="\t")
    joined = people[["participant_id"]].merge(table[table["status"] == PREDICTED], on="participant_id")
    assert joined["brain_pad"].tolist() == ["10.000"] * 3 + ["-20.000"] * 2
    assert joined["run"].tolist() == ["n/a", "1", "2", "n/a", "n/a"]
    assert groups[0].rows_of("left out")["participant_id"].tolist() == ["sub-03"]
    page = (place.folder / "reports" / "toy" / "index.html").read_text()
    assert "scans/sub-01_ses-2_run-2.html" in page and "figures/brain_pad.svg" in page
    assert errors_of(place.folder, tmp_path / "deno") == []


def test_group_names_the_missing_scans_and_how_to_obtain_them(place, bundle, forty_years):
    apply(place, bundle, "01")
    _, table = group(place, bundle)
    missing = table[table["status"] == "missing"]
    assert missing["scan_id"].tolist() == ["sub-02_ses-1", "sub-02_ses-2"]
    assert missing["reason"].str.contains("--participant-label sub-02").all()
    _, table = group(place, bundle, "01")
    assert set(table["participant_id"]) == {"sub-01"}


def test_group_without_results_or_with_those_of_two_models_is_refused(place, bundle, forty_years):
    with pytest.raises(InputError, match="run the participant level first"):
        group(place, bundle)
    apply(place, bundle)
    record = next(place.folder.glob("sub-02/ses-2/anat/*_prediction.json"))
    content = json.loads(record.read_text())
    content["model"]["sha256"] = "0" * 64
    record.write_text(json.dumps(content))
    with pytest.raises(InputError, match="2 different models named toy; sub-02_ses-2 differ"):
        group(place, bundle)


def test_scan_that_cannot_be_used_has_its_reason(place, bundle):
    place.put("sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz", "no image")
    assert apply_models(Request(place.source, place.folder, [bundle], Selection(["02"], ["1"])), Options(), "cpu") == 0
    _, table = group(place, bundle, "02")
    row = table[table["scan_id"] == "sub-02_ses-1"].iloc[0]
    assert row["status"] == "failed" and "can't be read as NIfTI" in row["reason"]


def test_output_is_never_the_dataset_or_another_programs(place, bundle, tmp_path):
    with pytest.raises(InputError, match="is the dataset"):
        layout.check_output(place.source, place.source)
    other = tmp_path / "other"
    other.mkdir()
    (other / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "fMRIPrep"}]}')
    with pytest.raises(InputError, match="a dataset of fMRIPrep"):
        layout.check_output(place.source, other)


def test_two_models_of_one_name_are_refused(place, bundle):
    with pytest.raises(InputError, match="are both named toy"):
        apply_models(Request(place.source, place.folder, [bundle, bundle]), Options(), "cpu")


def program(folder, output):
    """A validator that prints ``output``."""
    path = folder / "bids-validator-deno"
    path.write_text(f"#!/bin/sh\ncat <<'E'\n{output}\nE\n")
    path.chmod(0o755)


def test_validator_is_run_where_it_is_and_its_errors_stop_the_run(place, tmp_path, monkeypatch):
    monkeypatch.setattr(validation.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert "is not validated, because the BIDS validator is not installed" in validation.validate(place.source)
    program(tmp_path, '{"issues": {"issues": [{"code": "X", "severity": "warning"}]}}')
    assert "is valid" in validation.validate(place.source)
    program(tmp_path, '{"issues": {"issues": [{"code": "EMPTY", "location": "/a", "severity": "error"}]}}')
    with pytest.raises(InputError, match=r"1 error.*--skip-bids-validation(?s:.*)EMPTY /a"):
        validation.validate(place.source)
    program(tmp_path, "no JSON")
    assert "is not validated, because" in validation.validate(Path(place.source))
