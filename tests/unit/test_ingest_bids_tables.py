"""The tables of a user's BIDS folder: variables, data dictionaries, and what the check of the configuration knows of them."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from bids_place import Place
from neurocohort.errors import InputError
from neurocohort.files import read_table
from neurocohort.sources import raw_bids
from neurocohort.sources.bids_plan import plan_bids
from neurocohort.sources.columns import OWN_COLUMNS, SCAN_COLUMNS
from neurocohort.sources.fingerprints import fingerprint_bids
from neurocohort.sources.variable_kinds import CATEGORIES, NAME, NUMBER, TWO_CLASSES
from neurocohort.sources.variables import kinds_of_plan

T1W = "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


# --- tables -------------------------------------------------------------------------------------------------------


def two_people(place):
    for person in ("01", "02"):
        for session in ("1", "2"):
            place.put(f"sub-{person}/ses-{session}/anat/sub-{person}_ses-{session}_T1w.nii.gz")
    return place


def test_variables_are_normalised_and_explained(place):
    two_people(place)
    header = ["participant_id", "Age", "sex", "site", "MMSE score", "path", "group", "class", "family_id", "weight"]
    place.put(
        "participants.tsv",
        [
            header,
            ["sub-01", "71", "Female", "1", "29", "/x", "AD", "a", "007", "70.5"],
            ["02", "89+", "O", "2", "n/a", "/y", "CN", "b", "008", "80"],
            ["sub-03", "40", "m", "2", "", "/z", "CN", "b", "009", "80"],
        ],
    )
    levels = {"Description": "Diagnosis", "Levels": {"AD": "Alzheimer's disease", "CN": "control"}}
    place.put("participants.json", {"group": levels, "Age": {"Description": "Age at entry"}, "weight": "Weight in kg"})
    place.ingest()
    first, second = place.scans.loc["sub-01_ses-1"], place.scans.loc["sub-02_ses-2"]
    assert (first["age"], first["sex"], first["site"], first["MMSE_score"]) == (71, "F", "site-1", 29)
    assert second[["age", "sex", "MMSE_score"]].isna().all() and second["site"] == "site-2"
    assert (first["path"], first["path_"], first["class_"], first["family_id"]) == (T1W, "/x", "a", "007")
    assert first["weight"] == 70.5 and first["group"] == "AD"
    assert (
        "2 scan(s) have n/a for age, because the column 'Age' of participants.tsv has invalid values: '89+'."
        in place.notes
    )
    assert (
        "2 scan(s) have n/a for sex, because the column 'sex' of participants.tsv has invalid values: 'O'."
        in place.notes
    )
    assert "The column 'MMSE score' of participants.tsv is called MMSE_score here." in place.notes
    assert "1 of the 3 participants of the tables have no image: sub-03." in place.notes
    assert place.dictionary["group"] == levels
    assert place.dictionary["age"]["Description"] == "Age at entry" and place.dictionary["age"]["Units"] == "year"
    assert place.dictionary["sex"]["Levels"] == {"M": "male", "F": "female"}
    assert place.dictionary["MMSE_score"] == {"Description": "Column 'MMSE score' of participants.tsv"}
    assert place.dictionary["weight"] == {"Description": "Weight in kg"}
    people = read_table(place.folder / "participants.tsv").set_index("participant_id")
    assert people.loc["sub-01", "group"] == "AD" and people.loc["sub-01", "family_id"] == "007"


@pytest.mark.parametrize(
    ("age", "units", "years"),
    [("130", None, None), ("-1", None, None), ("120", None, 120), ("30.5", "years", 30.5), ("366", "months", 30.5)],
)
def test_ages_are_years_from_0_to_120(place, age, units, years):
    place.put(T1W)
    place.put("participants.tsv", [["participant_id", "age"], ["sub-01", age]])
    place.put("participants.json", {"age": {"Description": "Age", "Units": units}} if units else {})
    found = place.ingest().scans["age"].iloc[0]
    assert found == years if years else np.isnan(found)
    assert ("have n/a for age" in place.notes) == (years is None)


def test_values_of_a_session_go_before_those_of_the_participant(place):
    two_people(place)
    place.put(
        "participants.tsv", [["participant_id", "age", "cdr", "hand"], ["sub-01", 70, 0, "R"], ["sub-02", 60, 0.5, "L"]]
    )
    place.put(
        "sessions.tsv",
        [["participant_id", "session_id", "age", "cdr"], ["sub-01", "ses-2", 72, 0.5], ["02", "2", 61, 1]],
    )
    place.put("sub-01/sub-01_sessions.tsv", [["session_id", "age", "mmse"], ["ses-1", 70.2, 29], ["ses-2", "n/a", 27]])
    place.ingest()
    table = place.scans[["age", "cdr", "mmse"]].astype(object).where(place.scans[["age", "cdr", "mmse"]].notna(), None)
    assert table.loc["sub-01_ses-1"].tolist() == [70.2, 0, 29]
    assert table.loc["sub-01_ses-2"].tolist() == [None, 0.5, 27]  # an n/a of that day is no age of another
    assert table.loc["sub-02_ses-1"].tolist() == [60, 0.5, None]
    assert table.loc["sub-02_ses-2"].tolist() == [61, 1, None]
    assert "age is n/a in 1 session(s) by their own table, although the participant has a value." in place.notes
    assert place.scans["hand"].tolist() == ["R", "R", "L", "L"]
    people = read_table(place.folder / "participants.tsv")
    assert people.columns.tolist() == ["participant_id", "age", "sex", "site", "scanner", "hand"]  # cdr is a session's


def test_a_participants_table_with_a_row_a_session_is_read_by_session(place):
    two_people(place)
    rows = [["sub-01", "ses-1", 70], ["sub-01", "ses-2", 72], ["sub-02", "ses-1", 60], ["sub-02", "ses-2", 61]]
    place.put("participants.tsv", [["participant_id", "session_id", "age"], *rows])
    assert place.ingest().scans["age"].tolist() == [70, 72, 60, 61]


def test_two_rows_of_a_participant_that_differ_stop_with_their_numbers(place):
    place.put(T1W)
    place.put("participants.tsv", [["participant_id", "age"], ["sub-01", 30], ["01", 31]])
    with pytest.raises(InputError, match=r"participants.tsv, rows 2 and 3 are both of sub-01 and differ"):
        place.ingest()
    place.put("participants.tsv", [["participant_id", "age"], ["sub-01", 30], ["01", 30]])
    assert place.ingest().scans["age"].tolist() == [30]


def test_a_folder_without_tables_is_taken_and_said(place):
    place.put(T1W)
    place.ingest()
    assert place.scans[["age", "sex", "site"]].isna().all(axis=None)
    assert "There is no participants.tsv" in place.notes


def test_images_without_a_row_stay_with_na_and_rows_for_nobody_stop(place):
    two_people(place)
    place.put("participants.tsv", [["participant_id", "age"], ["sub-01", 30]])
    place.ingest()
    assert place.scans["age"].isna().tolist() == [False, False, True, True]
    assert "1 participant(s) with images are in no table and stay with n/a: sub-02." in place.notes
    place.put("participants.tsv", [["participant_id", "age"], ["sub-1", 30]])
    with pytest.raises(
        InputError, match="name sub-1, and none of them has an image; those with images are sub-01, sub-02"
    ):
        place.ingest()


def test_name_and_licence_of_the_source_are_carried_over(place):
    place.put(T1W)
    place.put(
        "dataset_description.json",
        {"Name": "My study", "License": "CC0", "DatasetType": "derivative", "Funding": ["x"]},
    )
    place.ingest()
    description = json.loads((place.folder / "dataset_description.json").read_text())
    assert description == {
        "BIDSVersion": raw_bids.BIDS_VERSION,
        "Name": "My study",
        "License": "CC0",
        "DatasetType": "raw",
    }


def test_a_damaged_sidecar_is_told_and_stops_nothing(place):
    place.put(T1W)
    place.put("participants.tsv", [["participant_id", "mmse"], ["sub-01", 30]])
    place.put("participants.json", '{"mmse": ')
    place.put("dataset_description.json", "[]")
    place.ingest()
    assert "participants.json can't be read as JSON" in place.notes
    assert "dataset_description.json can't be read as JSON (it has no object)" in place.notes
    assert json.loads((place.folder / "dataset_description.json").read_text())["Name"] == "study"


# --- what the configuration is checked with -----------------------------------------------------------------------


def test_the_kinds_of_variables_are_known_before_anything_is_read(place):
    two_people(place)
    place.put(
        "participants.tsv",
        [
            ["participant_id", "Age", "patient", "group", "hand", "MMSE score", "centre_id", "empty", "class"],
            ["sub-01", 70, 0, "AD", "R", 29, "01", "n/a", 1],
            ["sub-02", 71, 1, "CN", "R", 29, "02", "", 2],
            ["sub-03", 71, 1, "CN", "R", "n/a", "03", "", 2],
        ],
    )
    place.put("sub-01/sub-01_sessions.tsv", [["session_id", "cdr"], ["ses-1", 0.5]])
    kinds = kinds_of_plan(plan_bids(place.source))
    assert kinds == {
        **dict.fromkeys(("participant_id", "session_id", "scan_id"), NAME),
        **{"site": CATEGORIES, "scanner": CATEGORIES, "age": NUMBER, "sex": TWO_CLASSES},
        **{"patient": TWO_CLASSES, "group": TWO_CLASSES, "hand": CATEGORIES, "MMSE_score": NUMBER},
        **{"centre_id": CATEGORIES, "empty": None, "class_": NUMBER, "cdr": NUMBER},
    }
    place.ingest()
    assert {*kinds} == {*place.scans.reset_index().columns} - set(SCAN_COLUMNS[5:-2])
    numeric = {name for name in place.scans if place.scans[name].dtype.kind in "if"}
    assert {name for name, kind in kinds.items() if kind == NUMBER} <= numeric


def test_the_kinds_of_a_folder_without_tables_are_those_of_every_cohort(place):
    place.put(T1W)
    assert {*kinds_of_plan(plan_bids(place.source))} == {
        "participant_id",
        "session_id",
        "scan_id",
        "site",
        "scanner",
        "age",
        "sex",
    }


def test_tables_that_cannot_be_read_are_named(place):
    with pytest.raises(InputError, match="expected a BIDS folder"):
        kinds_of_plan(plan_bids(place.source))
    place.put(T1W)
    place.put("participants.tsv", [["subject", "age"], ["sub-01", 30]])
    with pytest.raises(InputError, match=r"participants.tsv lacks the column\(s\) participant_id; it has subject, age"):
        kinds_of_plan(plan_bids(place.source))
    place.put("participants.tsv", "participant_id\tname\nsub-01\tMünchen\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"participants.tsv can't be read as a table .*expected .csv or .tsv in UTF-8"):
        kinds_of_plan(plan_bids(place.source))


def test_no_variable_of_a_user_takes_the_name_of_a_column_of_ours():
    assert set(SCAN_COLUMNS) <= {*OWN_COLUMNS, "site", "scanner", "age", "sex"}


def test_a_fingerprint_changes_with_what_is_read_and_with_nothing_else(place):
    image = place.put(T1W)
    place.put("participants.tsv", [["participant_id", "age"], ["sub-01", 30]])
    prints = [fingerprint_bids(place.source)]

    def changed():
        prints.append(fingerprint_bids(place.source))
        return prints[-1] not in prints[:-1]

    place.put("sub-01/ses-1/func/sub-01_ses-1_bold.nii.gz")
    place.put("README", "text")
    assert not changed()
    place.put("sub-01/ses-1/anat/sub-01_ses-1_run-2_T1w.nii")
    assert changed()
    place.put("sub-01/sub-01_sessions.tsv", [["session_id", "age"], ["ses-1", 30]])
    assert changed()
    place.put("participants.json", {})
    assert changed()
    place.put("sub-01/sub-01_sessions.json", {"age": {"Units": "months"}})
    assert changed()
    place.put("sub-01/ses-1/sub-01_ses-1_scans.tsv", [["filename", "acq_time"], ["anat/x.nii.gz", "2001-01-01"]])
    assert changed()
    place.put("sub-01/ses-1/anat/sub-01_ses-1_T1w.json", {"PatientAge": "031Y"})
    assert changed()
    os.utime(image, ns=(1, 1))
    assert changed()
    image.unlink()
    image.symlink_to("nowhere")
    assert changed()


def test_the_check_of_a_configuration_loads_no_heavy_library():
    code = "import sys; import neurocohort.sources.fingerprints, neurocohort.sources.variables;"
    code += "print([name for name in ('numpy', 'pandas', 'nibabel', 'openpyxl') if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
