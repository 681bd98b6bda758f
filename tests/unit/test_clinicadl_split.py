"""A split that ClinicaDL wrote is taken as it is: its test part is held out, its validation and folds are the study's."""

import shutil

import pandas as pd
import pytest
from caps_trees import write_split
from configurations import SOURCE, refusal, study
from neurocohort.dataset.clinicadl_split import split_tables
from neurocohort.dataset.split import split_participants
from neurocohort.dataset.split_file import read_split_file
from neurocohort.errors import InputError
from neurocohort.study.configuration import check_configuration

NAMES = [f"sub-{number:02d}" for number in range(1, 11)]
PARTS = {"test": ["sub-01", "sub-02"], "validation": ["sub-03"]}


def cohort(names=NAMES) -> pd.DataFrame:
    """The scans of a cohort, two sessions of each participant."""
    rows = [(name, session) for name in names for session in ("ses-M000", "ses-M012")]
    scans = pd.DataFrame(rows, columns=["participant_id", "session_id"])
    return scans.assign(scan_id=scans["participant_id"] + "_" + scans["session_id"], site="A", age=60.0, sex="F")


def parts_of(split: pd.DataFrame) -> dict[str, list[str]]:
    return {part: rows["participant_id"].tolist() for part, rows in split.groupby("part")}


def test_a_single_split_gives_the_three_parts(tmp_path):
    folder = write_split(tmp_path, cohort(), PARTS)
    parts = parts_of(read_split_file(folder, cohort()))
    assert parts == {"held-out": PARTS["test"], "validation": PARTS["validation"], "train": NAMES[3:]}


def test_longitudinal_files_are_taken_before_those_of_the_first_sessions(tmp_path):
    folder = write_split(tmp_path, cohort(), PARTS)
    shutil.copy(folder / "validation_baseline.tsv", folder / "validation.tsv")
    assert [file.path.name for file in split_tables(folder)] == ["train.tsv", "validation.tsv", "test_baseline.tsv"]


def test_folds_are_the_studys_folds_and_the_first_is_the_validation_part(tmp_path):
    folder = write_split(tmp_path, cohort(), PARTS, folds=4)
    split = read_split_file(folder, cohort(), 4)
    inside = split[split["part"] != "held-out"].set_index("participant_id")
    assert inside["fold"].tolist() == [1, 2, 3, 4, 1, 2, 3, 4]
    assert (inside["part"] == "validation").tolist() == (inside["fold"] == 1).tolist()
    assert split.loc[split["part"] == "held-out", "fold"].isna().all()
    filled = split_participants(
        cohort(), class_column="dementia", validation=0.1, held_out=0.2, folds=4, test_folds=0, seed=1, frozen=split
    )
    assert parts_of(filled) == parts_of(split) and filled["fold"].dropna().tolist() == inside["fold"].tolist()


def test_one_of_the_folds_is_a_single_split_with_the_test_part_above(tmp_path):
    folder = write_split(tmp_path, cohort(), PARTS, folds=4)
    parts = parts_of(read_split_file(folder / "split-2", cohort()))
    assert parts["validation"] == ["sub-05", "sub-09"] and parts["held-out"] == PARTS["test"]


def test_participants_that_clinicadl_does_not_use_are_excluded_and_logged(tmp_path, caplog):
    folder = write_split(tmp_path, cohort(), PARTS)
    split = read_split_file(folder, cohort([*NAMES, "sub-11"]))
    assert parts_of(split)["excluded"] == ["sub-11"]
    assert "1 participant(s) of the cohort are in no file of" in caplog.text and "sub-11" in caplog.text


def test_another_number_of_folds_than_the_studys_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has the folds 1, 2, 3, 4; expected 1 to 5.*`split.folds` is 5"):
        read_split_file(write_split(tmp_path, cohort(), PARTS, folds=4), cohort(), 5)


def test_a_participant_in_two_parts_is_refused_with_the_files(tmp_path):
    folder = write_split(tmp_path, cohort(), PARTS)
    with (folder / "train.tsv").open("a") as file:
        file.write("sub-01\tses-M000\n")
    with pytest.raises(InputError, match=r"two parts: sub-01 .*split/train\.tsv.*split/test_baseline\.tsv"):
        read_split_file(folder, cohort())


def without(folder, *names):
    for name in names:
        (folder / name).unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda inner: without(inner.parent, "test_baseline.tsv"), r"has no test part.*prepare-experiment"),
        (
            lambda inner: without(inner, "validation_baseline.tsv"),
            r"expected a split of ClinicaDL: train\.tsv and validation",
        ),
        (lambda inner: without(inner, "train.tsv", "train_baseline.tsv"), "expected a split of ClinicaDL"),
        (lambda inner: (inner / "train.tsv").write_text("subject\nsub-04\n"), r"train\.tsv lacks .*participant_id"),
        (
            lambda inner: (inner / "train.tsv").write_text("participant_id\tsession_id\n\tses-M000\n"),
            "has no participant_id",
        ),
    ],
)
def test_a_folder_that_is_no_such_split_is_refused(tmp_path, change, said):
    folder = write_split(tmp_path, cohort(), PARTS)
    change(folder)
    with pytest.raises(InputError, match=said):
        read_split_file(folder, cohort())


def test_a_fold_without_its_validation_file_is_refused(tmp_path):
    folder = write_split(tmp_path, cohort(), PARTS, folds=3)
    without(folder, "split-1/validation_baseline.tsv")
    with pytest.raises(InputError, match=r"split-1 has train\.tsv.*expected validation_baseline\.tsv"):
        read_split_file(folder, cohort(), 3)


def test_the_outer_folder_is_refused_when_the_study_is_checked(tmp_path):
    outer = write_split(tmp_path, cohort(), PARTS).parent
    said = refusal(study({"source": "ixi", "split_file": str(outer)}))
    assert "`cohorts.own.split_file`" in said and "has split, test_baseline.tsv, train.tsv" in said
    assert f"Give the folder in it, such as {outer / 'split'}." in said
    assert "or the folder of a ClinicaDL split" in refusal(study({"source": "ixi", "split_file": "nowhere"}))


def test_folds_that_do_not_fit_the_study_are_found_when_it_is_checked(tmp_path):
    folder = write_split(tmp_path, cohort(), PARTS, folds=4)
    given = study({"source": "ixi", "split_file": str(folder)})
    assert "has 4 folds, and `split.folds` is 5; write `split.folds: 4`" in refusal(given)
    assert "which has no test folds" in refusal(given | {"split": {"test_folds": 4}})
    check_configuration(given | {"split": {"folds": 4}}, source=SOURCE)
