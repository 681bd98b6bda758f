"""Networks stay when scans are added, and only then; scans without a value only get predictions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from neurocohort.dataset.samples import samples_without_value, select_samples
from neurocohort.dataset.split import split_participants
from neurocohort.dataset.trained_scans import (
    ADDED,
    ADDED_SESSION,
    RECORD,
    WEIGHTS,
    kept_record,
    known_scans,
    read_record,
    record_of,
    without_added,
    write_record,
)
from neurocohort.errors import InputError
from neurocohort.files import write_table
from neurocohort.learning.ensembles import average_applied
from neurocohort.sources.scan_batches import write_batches
from test_dataset import cohort, tables_of

OPTIONS = {"task": "regression", "target": "age", "query": ""}


def ingested(data: Path, scans: pd.DataFrame, contents: dict[str, str] | None = None) -> dict[str, str]:
    """What is known of the scans of a cohort that was just ingested."""
    (data / "a").mkdir(parents=True, exist_ok=True)
    write_table(data / "a" / "scans.tsv", scans)
    write_batches(data / "a" / "batches.tsv", {scan: "0" for scan in scans["scan_id"]} | (contents or {}), 10)
    return known_scans(data, ["a"], {})


@pytest.fixture
def trained(tmp_path) -> Path:
    """The folder of a network that was trained on twelve scans."""
    scans = cohort(12)
    samples, _ = select_samples({"a": tables_of(scans)}, [], **OPTIONS)
    folder = tmp_path / "seed-1"
    folder.mkdir()
    write_record(folder / RECORD, record_of(samples, ingested(tmp_path / "data", scans), "settings"))
    (folder / WEIGHTS).write_text("weights")
    return folder


def test_networks_stay_when_scans_are_added_and_nothing_is_done_where_none_are(trained, tmp_path):
    assert kept_record([trained], ingested(tmp_path / "data", cohort(12)), "settings") is None
    known = ingested(tmp_path / "data", pd.concat([cohort(12), cohort(14).tail(2)]))
    assert kept_record([trained], known, "settings") == trained / RECORD


@pytest.mark.parametrize("change", ["label", "image", "settings", "removed", "another record", "no network"])
def test_networks_do_not_stay_when_what_they_learned_from_has_changed(trained, tmp_path, change):
    scans, contents, settings, folders = pd.concat([cohort(12), cohort(14).tail(2)]), {}, "settings", [trained]
    if change == "label":
        scans.loc[0, "age"] += 1
    elif change == "image":
        contents = {scans["scan_id"].iloc[0]: "1"}
    elif change == "settings":
        settings = "others"
    elif change == "removed":
        scans = scans.iloc[1:]
    elif change == "another record":
        folders.append(tmp_path / "seed-2")
        folders[1].mkdir()
        (folders[1] / WEIGHTS).write_text("weights")
        write_record(folders[1] / RECORD, read_record(trained / RECORD).model_copy(update={"conditions": "older"}))
    else:
        (trained / WEIGHTS).unlink()
    assert kept_record(folders, ingested(tmp_path / "data", scans, contents), settings) is None


def test_known_scans_do_not_change_when_an_added_one_changes_how_a_column_is_written(tmp_path):
    scans = cohort(3).assign(education=[12, 16, 10])
    before = ingested(tmp_path, scans)
    grown = pd.concat([scans, cohort(4).tail(1).assign(education=np.nan, note="first scan")])
    assert before.items() < ingested(tmp_path, grown).items()


def test_a_line_added_to_a_split_file_leaves_the_others_known(tmp_path):
    ingested(tmp_path / "data", cohort(2))
    path = tmp_path / "split.tsv"
    path.write_text("participant_id\tpart\nsub-000\ttrain\n")
    before = known_scans(tmp_path / "data", ["a"], {"a": [str(path)]})
    path.write_text("participant_id\tpart\nsub-000\ttrain\nsub-001\ttrain\n")
    assert before.items() < known_scans(tmp_path / "data", ["a"], {"a": [str(path)]}).items()
    path.write_text("participant_id\tpart\nsub-000\theld-out\n")
    assert not before.items() <= known_scans(tmp_path / "data", ["a"], {"a": [str(path)]}).items()


def test_a_line_that_moves_to_another_file_of_a_split_folder_is_a_change(tmp_path):
    ingested(tmp_path / "data", cohort(2))
    files = [tmp_path / name for name in ("train.tsv", "validation.tsv")]
    lines = ["participant_id\nsub-000\n", "participant_id\nsub-001\n"]
    found = []
    for order in (lines, lines[::-1]):
        for path, text in zip(files, order, strict=True):
            path.write_text(text)
        found.append(known_scans(tmp_path / "data", ["a"], {"a": [str(path) for path in files]}))
    assert not found[0].items() <= found[1].items()


def test_added_scans_are_tested_only_in_the_held_out_part(trained):
    scans = pd.concat([cohort(20), cohort(12).head(3).assign(session_id="ses-2")], ignore_index=True)
    scans["scan_id"] = scans["participant_id"] + "_" + scans["session_id"]
    scans["voxels_sha256"] = [str(number) for number in range(len(scans))]
    tables = tables_of(cohort(12))
    tables = tables_of(scans) | {"split": grown_split(tables["split"], scans)}
    samples, flow = select_samples({"a": tables}, [], **OPTIONS)
    record = read_record(trained / RECORD)
    kept, steps, added = without_added(samples, flow, record)
    development = kept["part"] != "held-out"
    assert set("a/" + kept.loc[development, "scan_id"]) == set(record.samples) and len(kept) + len(added) == len(
        samples
    )
    assert (added["part"] != "held-out").all() and steps["scans"].iloc[-1] == len(kept)
    first = added["scan_id"].str.endswith("ses-1")
    assert set(added.loc[first, "reason"]) == {ADDED} and set(added.loc[~first, "reason"]) <= {ADDED_SESSION}


def grown_split(split: pd.DataFrame, scans: pd.DataFrame) -> pd.DataFrame:
    """The split with new participants in turn in each part."""
    new = sorted(set(scans["participant_id"]) - set(split["participant_id"]))
    parts = ["train", "validation", "held-out"] * len(new)
    return pd.concat([split, pd.DataFrame({"participant_id": new, "part": parts[: len(new)]})], ignore_index=True)


def test_a_scan_that_was_trained_on_is_never_held_out_later(trained):
    tables = tables_of(cohort(12))
    tables["split"]["part"] = tables["split"]["part"].replace({"train": "held-out", "held-out": "train"})
    samples, flow = select_samples({"a": tables}, [], **OPTIONS)
    with pytest.raises(InputError, match=r"are held out now.*splits/"):
        without_added(samples, flow, read_record(trained / RECORD))


def test_with_test_folds_added_participants_are_not_tested_by_networks_that_stay():
    def tables(scans: pd.DataFrame, frozen: pd.DataFrame | None = None) -> dict:
        split = split_participants(scans, validation=0.3, held_out=0.0, seed=1, test_folds=2, frozen=frozen)
        return tables_of(scans) | {"split": split}

    known = tables(cohort(16))
    before, _ = select_samples({"a": known}, [], **OPTIONS, test_folds=2)
    record = record_of(before, {}, "settings")
    grown = {"a": tables(cohort(19).assign(age=range(20, 39)), known["split"])}
    kept, _, added = without_added(*select_samples(grown, [], **OPTIONS, test_folds=2), record)
    assert set(kept["participant_id"]) == set(before["participant_id"]) and len(added) == 3
    grown["a"]["split"]["test_fold"] = 3 - grown["a"]["split"]["test_fold"]
    with pytest.raises(InputError, match="are held out now"):
        without_added(*select_samples(grown, [], **OPTIONS, test_folds=2), record)


def test_external_scans_without_a_value_only_get_predictions():
    other = cohort(6, seed=9)
    other[["participant_id", "scan_id"]] = "x" + other[["participant_id", "scan_id"]]
    other.loc[[1, 2], "age"] = np.nan
    tables = {"a": tables_of(cohort(30)), "b": tables_of(other, excluded=("xsub-001_ses-1",))}
    samples, _ = select_samples(tables, ["b"], **OPTIONS)
    found = samples_without_value(tables, ["b"], **OPTIONS)
    assert found["scan_id"].tolist() == ["xsub-002_ses-1"] and set(found["reason"]) == {"no value of age"}
    assert not set(found["scan_id"]) & set(samples["scan_id"])
    tables["b"] = tables_of(other.drop(columns="dementia"))
    classes = {"task": "classification", "target": "dementia", "query": "", "classes": ["0", "1"]}
    assert len(samples_without_value(tables, ["b"], **classes)) == 6
    assert samples_without_value(tables, ["b"], **OPTIONS | {"task": "segmentation", "target": "dseg"}).empty


def test_predictions_of_scans_without_a_value_are_averaged_over_the_networks():
    rows = pd.DataFrame({"cohort": "b", "part": "external", "scan_id": ["s1", "s2"], "target": [np.nan, 40.0]})
    tables = {name: rows.assign(prediction=[value, 30.0], reason="why") for name, value in (("x", 20.0), ("y", 40.0))}
    found = average_applied(tables)
    assert found["prediction"].tolist() == [30.0, 30.0] and found["spread"].tolist() == [10.0, 0.0]
    assert found["target"].isna().tolist() == [True, False]
    assert average_applied({"x": rows.head(0)}).empty
