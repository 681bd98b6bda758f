"""Cohorts of one's own with odd folders and tables: nothing is wrong silently, and what was decided is a note or a refusal."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import openpyxl
import pandas as pd
import pytest
from neurocohort.dataset.filters import compile_filter
from neurocohort.dataset.split_file import read_split_file
from neurocohort.errors import InputError
from neurocohort.notes import Kind, Notes, grouped, read_notes, write_notes
from neurocohort.sources.bids_plan import plan_bids
from neurocohort.sources.cells import read_sheet
from neurocohort.sources.fingerprints import fingerprint_bids
from neurocohort.sources.table_plan import plan_table
from neurocohort.sources.variables import values_of_plan
from neurocohort.study.cohorts import LEVELS_OF_SOURCE
from neurocohort.study.configuration import check_configuration
from neurocohort.study.preview import notes_of_plan, preview


@pytest.fixture
def folder(tmp_path):
    class Folder:
        source = tmp_path / "study"

        def put(self, path: str, text: str = "") -> Path:
            target = self.source / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            return target

        def images(self, *names: str) -> "Folder":
            for name in names:
                participant, *rest = name.split("_")
                session = next((part for part in rest if part.startswith("ses-")), "")
                self.put("/".join(filter(None, (participant, session, "anat", f"{name}_T1w.nii.gz"))))
            return self

        def table(self, path: str, *rows: str) -> "Folder":
            self.put(path, "".join("\t".join(row.split()) + "\n" for row in rows))
            return self

        def plan(self, **options):
            self.planned = plan_bids(self.source, **options)
            self.notes = " | ".join(note.shown for note in notes_of_plan(self.planned))
            return self

        def ages(self) -> dict:
            return {scan: row.get("age") for scan, row in values_of_plan(self.planned).values.items()}

        def sexes(self) -> list:
            return [row.get("sex") for row in values_of_plan(self.planned).values.values()]

        def taken(self) -> list[str]:
            return [scan.images["T1w"].name for scan in self.planned.scans]

    return Folder()


def csv_of(tmp_path: Path, *lines: str, name: str = "scans.csv") -> Path:
    (tmp_path / "a.nii.gz").touch()
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n")
    return path


# --- whose scan, which session ------------------------------------------------------------------------------------


def test_sessions_that_differ_in_leading_zeros_alone_are_matched_with_a_note(folder):
    folder.images("sub-01_ses-M000", "sub-01_ses-M012", "sub-02_ses-M000")
    folder.table("sub-01/sub-01_sessions.tsv", "session_id age", "ses-M00 60", "ses-M12 61")
    folder.table("sub-02/sub-02_sessions.tsv", "session_id age", "ses-M000 50").plan()
    assert folder.ages() == {"sub-01_ses-M000": 60, "sub-01_ses-M012": 61, "sub-02_ses-M000": 50}
    assert "2 session(s) have other leading zeros" in folder.notes and "sub-01_ses-M00 is ses-M000" in folder.notes


def test_sessions_of_tables_and_folders_that_have_no_partner_are_named(folder):
    folder.images("sub-01_ses-a", "sub-01_ses-b")
    folder.table("sessions.tsv", "participant_id session_id age", "sub-01 ses-a 60", "sub-01 ses-c 62").plan()
    assert folder.ages() == {"sub-01_ses-a": 60, "sub-01_ses-b": None}
    assert "1 session(s) of the tables have no folder with an image: sub-01_ses-c" in folder.notes
    assert "1 session folder(s) have no row" in folder.notes and "sub-01_ses-b" in folder.notes


def test_sessions_none_of_which_has_a_folder_stop_with_both_names(folder):
    folder.images("sub-01_ses-baseline", "sub-02_ses-baseline")
    folder.table("participants.tsv", "participant_id session_id age", "sub-01 ses-1 60", "sub-02 ses-1 61")
    with pytest.raises(InputError, match=r"name the sessions sub-01_ses-1, .* the folders are sub-01_ses-baseline"):
        folder.plan()


@pytest.mark.parametrize(
    ("path", "named"),
    [("sub-02/anat/sub-01_T1w.nii.gz", "sub-01"), ("sub-02/ses-2/anat/sub-02_ses-1_T1w.nii.gz", "ses-1")],
)
def test_an_image_of_another_is_excluded_with_both_names(folder, path, named):
    folder.images("sub-03").put(path)
    folder.plan()
    ((participant, _, reason),) = folder.planned.exclusions
    assert participant == "sub-02" and f"is named as {named} and is in the folder of sub-02" in reason
    assert folder.taken() == ["sub-03_T1w.nii.gz"]


# --- which image --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "taken", "why"),
    [
        (("ce-gadolinium", "run-1"), "run-1", "contrast-enhanced"),
        (("ce-none", "ce-gd"), "ce-none", "contrast-enhanced"),
        (("part-phase", "part-mag"), "part-mag", "not a magnitude image"),
        (("rec-norm", ""), "", "another reconstruction"),
        (("chunk-1", "run-2"), "run-2", "a part of the field of view"),
        (("echo-1", ""), "", "a single echo"),
    ],
)
@pytest.mark.parametrize("run", ["first", "last", "all"])
def test_the_best_image_of_several_is_taken_and_the_note_says_why(folder, names, taken, why, run):
    file = {name: "_".join(filter(None, ("sub-01", name, "T1w.nii.gz"))) for name in names}
    for name in names:
        folder.put(f"sub-01/anat/{file[name]}")
    folder.plan(run=run)
    assert folder.taken() == [file[taken]]
    assert f"{file[taken]} is taken" in folder.notes and why in folder.notes


@pytest.mark.parametrize("label", ["GD", "gad", "postGd", "mprageContrast", "t1gadolinium", "POST", "ce"])
def test_an_acquisition_that_is_named_after_a_contrast_agent_comes_after_the_native_one(folder, label):
    folder.images(f"sub-01_acq-{label}", "sub-01_acq-mprage").plan()
    assert folder.taken() == ["sub-01_acq-mprage_T1w.nii.gz"]
    assert f"sub-01_acq-{label}_T1w.nii.gz (contrast-enhanced)" in folder.notes


@pytest.mark.parametrize("label", ["precontrast", "noncontrast", "nocontrast", "posterior", "2mmgdpr"])
def test_an_acquisition_that_is_named_native_is_taken_as_such(folder, label):
    folder.images(f"sub-01_acq-{label}", "sub-01_acq-zz").plan()
    assert folder.taken() == [f"sub-01_acq-{label}_T1w.nii.gz"] and "contrast-enhanced" not in folder.notes


def test_an_extra_image_of_another_is_named_in_the_reason(folder):
    folder.images("sub-01", "sub-02")
    folder.put("sub-01/anat/sub-01_FLAIR.nii.gz")
    folder.put("sub-02/anat/sub-01_FLAIR.nii.gz")
    folder.plan(modalities=("T1w", "FLAIR"))
    ((_, scan_id, reason),) = folder.planned.exclusions
    assert scan_id == "sub-02_ses-1" and "sub-01_FLAIR.nii.gz is named as another's" in reason


def test_the_only_image_is_taken_though_it_is_enhanced_and_that_is_noted(folder):
    folder.images("sub-01_ce-gadolinium").plan()
    assert folder.taken() == ["sub-01_ce-gadolinium_T1w.nii.gz"] and "is contrast-enhanced by its name" in folder.notes


def test_hidden_files_are_no_images(folder):
    folder.images("sub-01")
    folder.put("sub-01/anat/._sub-01_T1w.nii.gz")
    folder.plan()
    assert folder.taken() == ["sub-01_T1w.nii.gz"] and "taken" not in folder.notes


# --- how old ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["acq_time", "delay_days", "scans.tsv", "years_from_baseline"])
def test_an_age_at_baseline_is_brought_to_each_session(folder, way):
    folder.images("sub-01_ses-a", "sub-01_ses-b")
    folder.table("participants.tsv", "participant_id age", "sub-01 60")
    values = {
        "acq_time": ("2001-01-01T10:00:00", "2006-01-01T10:00:00"),
        "delay_days": (0, 1826),
        "years_from_baseline": (0, 5),
    }
    if way == "scans.tsv":
        for session, date in (("a", "2001-01-01"), ("b", "2006-01-01")):
            name = f"sub-01/ses-{session}/sub-01_ses-{session}_scans.tsv"
            folder.table(name, "filename acq_time", f"anat/sub-01_ses-{session}_T1w.nii.gz {date}")
    else:
        first, second = values[way]
        folder.table("sub-01/sub-01_sessions.tsv", f"session_id {way}", f"ses-a {first}", f"ses-b {second}")
    folder.plan()
    ages = folder.ages()
    assert ages["sub-01_ses-a"] == 60 and ages["sub-01_ses-b"] == pytest.approx(65, abs=0.01)
    assert "The age at 2 session(s) is" in folder.notes and "as if these were of one day" not in folder.notes


@pytest.mark.parametrize("odd", ["pipe", "loop", "quote"])
def test_an_odd_table_of_times_or_sidecar_is_left_out_with_a_note(folder, odd):
    folder.images("sub-01_ses-a", "sub-01_ses-b")
    folder.table("participants.tsv", "participant_id age", "sub-01 60")
    times = folder.source / "sub-01/ses-a/sub-01_ses-a_scans.tsv"
    for path in (times, folder.source / "sub-01/ses-a/anat/sub-01_ses-a_T1w.json"):
        if odd == "pipe":
            os.mkfifo(path)
        elif odd == "loop":
            path.symlink_to(path.name)
        else:
            path.write_text('filename\tacq_time\n"x\t2001-01-01\n')
    assert len(fingerprint_bids(folder.source)) == 64
    folder.plan()
    assert set(folder.ages().values()) == {60.0}
    assert f"Its content is ignored: {times}" in folder.notes


def test_one_age_for_several_sessions_is_noted(folder):
    folder.images("sub-01_ses-baseline", "sub-01_ses-year05")
    folder.table("participants.tsv", "participant_id age", "sub-01 60").plan()
    assert "1 participant(s) have one age for all of their sessions" in folder.notes and "sub-01" in folder.notes


@pytest.mark.parametrize("units", ["mo", "mon", "months", "Months"])
def test_ages_in_months_become_years_by_the_dictionary_or_the_tables_own_sidecar(folder, units):
    folder.images("sub-01_ses-1")
    folder.table("sub-01/sub-01_sessions.tsv", "session_id age", "ses-1 96")
    folder.put("sub-01/sub-01_sessions.json", f'{{"age": {{"Units": "{units}"}}}}')
    assert folder.plan().ages() == {"sub-01_ses-1": 8}


@pytest.mark.parametrize("units", ["decades", "m", "days or years"])
def test_an_age_in_units_that_are_not_understood_is_refused(folder, units):
    folder.images("sub-01").table("participants.tsv", "participant_id age", "sub-01 96")
    folder.put("participants.json", f'{{"age": {{"Units": "{units}"}}}}')
    with pytest.raises(InputError, match=f"participants.json: `Units` of age is '{units}'; expected years, months"):
        folder.plan()


@pytest.mark.parametrize("description", ["Age in months at the scan", "age (months)", "AGE IN MONTHS"])
def test_a_description_of_the_age_in_months_is_understood(folder, description):
    folder.images("sub-01").table("participants.tsv", "participant_id age", "sub-01 96")
    folder.put("participants.json", json.dumps({"age": {"Description": description}}))
    assert folder.plan().ages() == {"sub-01_ses-1": 8.0}


@pytest.mark.parametrize(
    "description",
    ["Age on the day of the scan", "age in years, asked some months before", "Age (years)", "in days or in weeks"],
)
def test_a_description_that_names_no_single_unit_means_years(folder, description):
    folder.images("sub-01").table("participants.tsv", "participant_id age", "sub-01 96")
    folder.put("participants.json", json.dumps({"age": {"Description": description}}))
    assert folder.plan().ages() == {"sub-01_ses-1": 96.0}


def test_codes_of_sex_are_read_by_their_levels_and_refused_where_these_contradict(folder):
    folder.images("sub-01", "sub-02", "sub-03")
    folder.table("participants.tsv", "participant_id sex", "sub-01 1", "sub-02 2", "sub-03 9")
    folder.plan()
    assert folder.sexes() == [None] * 3 and "Accepted are m, male, f and female, in any capitals" in folder.notes
    folder.put(
        "participants.json", '{"sex": {"Levels": {"1": "Male", "2": {"Description": "female"}, "9": "unknown"}}}'
    )
    assert folder.plan().sexes() == ["M", "F", None]
    folder.put("participants.json", '{"sex": {"Levels": {"1": "gold", "2": "silver"}}}')
    with pytest.raises(InputError, match="none of their meanings is male or female"):
        folder.plan()
    folder.put("participants.json", '{"sex": {"Levels": {"M": "female", "F": "male"}}}')
    with pytest.raises(InputError, match="has the meaning 'female' for 'M'"):
        folder.plan()


# --- tables -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["participant_id,path,site", '1,a.nii.gz,"north', "2,a.nii.gz,south"], "row 2 has a quote that isn't closed"),
        (["participant_id,path,site", '1,a.nii.gz,"nor', 'th"', "2,a.nii.gz,s"], "row 2 has a quote that isn't closed"),
        (
            ["participant_id\tpath\tsite", '1\ta.nii.gz\t"north', "2\ta.nii.gz\ts"],
            "row 2 has a quote that isn't closed",
        ),
        (["participant_id,path,site", "1,a.nii.gz,x", "2,a.ni"], "row 3 has 2 cells, and the header has 3"),
        (["participant_id,path", "A_1,a.nii.gz", "A1,a.nii.gz"], "A_1 and A1, which are both sub-A1"),
    ],
)
def test_no_row_of_a_table_is_swallowed_or_padded(tmp_path, lines, message):
    with pytest.raises(InputError, match=message):
        plan_table(csv_of(tmp_path, *lines))


def test_a_tab_separated_table_with_every_text_in_quotes_is_read(tmp_path):
    table = csv_of(tmp_path, '"participant_id"\t"path"\t"site"', '"1"\t"a.nii.gz"\t"6\'2"', name="scans.tsv")
    assert [scan.scan_id for scan in plan_table(table).scans] == ["sub-1_ses-1"]


def test_ids_with_underscores_and_hyphens_become_labels_with_a_note(tmp_path):
    plan = plan_table(csv_of(tmp_path, "participant_id,path", "OAS1_0001,a.nii.gz", "IXI443-HH-2215,a.nii.gz"))
    assert [scan.participant_id for scan in plan.scans] == ["sub-OAS10001", "sub-IXI443HH2215"]
    noted = " ".join(note.note for note in plan.notes.notes if note.kind == Kind.NAMES)
    assert "OAS1_0001 of scans.csv is sub-OAS10001 here" in noted and "sub-IXI443HH2215" in noted


def test_codes_for_missing_values_are_noted_where_they_look_like_values(tmp_path):
    rows = ["1,a.nii.gz,20,-9,AD,3", "2,a.nii.gz,30,28,None,None", "3,a.nii.gz,40,29,CN,4", "4,a.nii.gz,50,9999,.,5"]
    plan = plan_table(csv_of(tmp_path, "participant_id,path,age,mmse,group,score", *rows))
    notes = " | ".join(note.note for note in notes_of_plan(plan))
    assert "'mmse' of scans.csv holds -9, 9999 for 2 scan(s), which is used as a value of mmse" in notes
    assert "'group' of scans.csv holds ., None for 2 scan(s)" in notes
    assert "1 scan(s) have n/a for score" in notes
    assert [row["score"] for row in values_of_plan(plan).values.values()] == [3, None, 4, 5]


def test_numbers_beside_texts_are_noted(tmp_path):
    rows = ["1,a.nii.gz,20", "2,a.nii.gz,'22'", "3,a.nii.gz,24"]
    plan = plan_table(csv_of(tmp_path, "participant_id,path,bmi", *rows))
    assert any("so that bmi is categories and not a number" in note.note for note in notes_of_plan(plan))


def workbook(change) -> bytes:
    book = openpyxl.Workbook()
    for row in (["participant_id", "path", "site"], ["1", "a.nii.gz", "x"], ["2", "a.nii.gz", "y"]):
        book.active.append(row)
    change(book)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda book: book.active.merge_cells("C2:C3"), "rows 2 to 3 have merged cells"),
        (lambda book: book.active.__setitem__("C3", "=1+1"), "row 3, column C holds a formula without its value"),
    ],
)
def test_merged_cells_and_formulas_without_values_are_refused(tmp_path, change, message):
    path = tmp_path / "scans.xlsx"
    path.write_bytes(workbook(change))
    with pytest.raises(InputError, match=message):
        plan_table(path)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("participant_id,path,Age,AGE", "2 columns that mean age: Age, AGE; Age in column 3 is used"),
        ("participant_id,path,age,age", "2 columns that mean age: age, age; age in column 3 is used"),
        ("participant_id,Path,path,age", "2 columns that mean path: Path, path; path in column 3 is used"),
        ("participant_id,path,,age", "no name for its column(s) 3"),
    ],
)
def test_columns_of_one_meaning_or_without_a_name_are_noted(tmp_path, header, words):
    plan = plan_table(csv_of(tmp_path, header, "01,a.nii.gz,a.nii.gz,31"))
    assert words in " | ".join(note.note for note in plan.notes.notes)


def test_the_sheet_that_is_read_of_several_is_noted(tmp_path):
    (tmp_path / "a.nii.gz").touch()
    path = tmp_path / "scans.xlsx"
    path.write_bytes(workbook(lambda book: book.create_sheet("more")))
    assert any("has 2 sheets" in note.note for note in plan_table(path).notes.notes)


def test_the_real_spreadsheet_of_ixi_has_no_fault(shared_data):
    assert len(read_sheet((shared_data / "IXI.xls").read_bytes(), "Table").rows) > 600


def test_a_table_that_is_a_link_to_nothing_is_named(folder):
    folder.images("sub-01")
    (folder.source / "participants.tsv").symlink_to(".git/annex/nowhere")
    with pytest.raises(InputError, match=r"participants.tsv is a link to a file that is not there; fetch its content"):
        folder.plan()


def test_a_split_file_may_have_the_ids_as_the_users_table_has_them(tmp_path):
    path = tmp_path / "split.csv"
    path.write_text("participant_id,part\nA_1,train\nA_2,validation\nA_3,test\n")
    scans = pd.DataFrame(
        {"participant_id": ["sub-A1", "sub-A2", "sub-A3"], "session_id": "ses-1", "scan_id": ["1", "2", "3"]}
    )
    assert read_split_file(path, scans)["part"].tolist() == ["train", "validation", "held-out"]


# --- what no scan can satisfy -------------------------------------------------------------------------------------


def study(cohort: dict, **experiment) -> dict:
    experiment = {"task": "regression", "target": "age", "cohorts": ["own"], "network": {"name": "sfcn"}} | experiment
    return {"study": "own", "cohorts": {"own": cohort}, "experiments": {"e": experiment}}


CLASSES = {"task": "classification", "target": "group", "classes": ["CN", "AD"]}


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        ({"target": "mmse"}, "none of the 4 scans of `own` has a value of it: "),
        (CLASSES | {"classes": ["CN", "MCI"]}, "`experiments.e.classes` has 'MCI', which no scan has as group"),
        (CLASSES | {"classes": None}, "which of them is the negative and which the positive class isn't known"),
        ({"filter": "age > 200"}, "leaves none of the 4 scans"),
        ({"filter": "age < 63"}, r"have 2 participant\(s\) with a value of `age`, expected at least 3"),
        (
            {"target": "size"},
            "`size`, which is 3 in all 4 scans of `experiments.e.cohorts`, so nothing can be learned",
        ),
        (
            CLASSES | {"filter": "number < 4"},
            "has 'AD', which no scan to train on has as group; the values there are CN",
        ),
        ({"filter": "site == 'Nroth'"}, "compares site with 'Nroth', which no scan has.*did you mean `north`"),
        ({"filter": "site > 3"}, "compares 'north' with 3"),
        ({"leave_one_site_out": ["nort"]}, "has `nort`, which no scan .*; did you mean `north`"),
    ],
)
def test_what_no_scan_can_satisfy_is_found_before_anything_runs(tmp_path, experiment, message):
    rows = [
        f"{number},a.nii.gz,{60 + number},,{'AD' if number > 3 else 'CN'},north,3,{number}" for number in range(1, 5)
    ]
    table = csv_of(tmp_path, "participant_id,path,age,mmse,group,site,size,number", *rows)
    config = study({"source": "table", "path": str(table)}, **{k: v for k, v in experiment.items() if v is not None})
    with pytest.raises(InputError, match=message):
        check_configuration(config, source="study.yaml")


@pytest.mark.parametrize("age", ["63,5", "2019-05-03", "n/a"])
def test_a_target_whose_cells_are_not_understood_is_found_before_anything_runs(tmp_path, age):
    table = csv_of(tmp_path, "participant_id\tpath\tage", f"1\ta.nii.gz\t{age}", name="scans.tsv")
    words = "Write decimals with a point" if age == "63,5" else "Expected years" if age != "n/a" else "cells are empty"
    with pytest.raises(InputError, match=rf"`experiments.e.target` is `age`, and none of the 1 scans .*{words}"):
        check_configuration(study({"source": "table", "path": str(table)}), source="study.yaml")


def test_classes_filters_and_sites_of_public_cohorts_are_known_too():
    experiment = {"filter": "site == 'Guy'", "leave_one_site_out": ["HHH"]}
    with pytest.raises(InputError, match=r"(?s)compares site with 'Guy'.*`HHH`, which no scan"):
        check_configuration(study({"source": "ixi"}, **experiment), source="study.yaml")


def test_levels_of_public_sources_are_those_of_their_dictionaries():
    from neurocohort.sources import ixi_table, oasis1_table

    for source, table in (("ixi", ixi_table), ("oasis1", oasis1_table)):
        for variable, levels in LEVELS_OF_SOURCE[source].items():
            assert levels == {*table.VARIABLES[variable]["Levels"]}, (source, variable)


def test_a_filter_means_what_it_meant_to_pandas():
    rows = pd.DataFrame({"age": [1.0, 50.0, None, 70.0], "site": ["a", "b", "a", None]})
    for text in ("age > 20", "not age > 20", "20 < age < 60", "site == 'a'", "site != 'a'", "site in ['b']",
                 "site not in ['b']", "age > 20 and site == 'b' or age == 70", "age != 50"):  # fmt: skip
        holds = compile_filter(text)
        assert [holds(row) for row in rows.to_dict("records")] == [
            index in rows.query(text, engine="python").index for index in rows.index
        ], text


def test_a_grid_of_which_a_network_leaves_one_voxel_is_refused_with_the_least_one():
    config = study({"source": "ixi"}) | {"preprocessing": {"spacing_mm": 4.0, "shape": [40, 48, 40]}}
    with pytest.raises(
        InputError, match=r"`preprocessing.shape` is \[40, 48, 40\].*at least \[32, 64, 32\], or at most 5 `chan"
    ):
        check_configuration(config, source="study.yaml")
    config["experiments"]["e"]["network"]["channels"] = [8, 16, 32, 32, 16]
    check_configuration(config, source="study.yaml")


# --- notes --------------------------------------------------------------------------------------------------------


def test_notes_are_written_read_and_grouped_to_a_screen(tmp_path):
    notes = Notes()
    for number in range(500):
        for kind in Kind:
            notes.add(kind, f"sentence\t{number}", f"sub-{number}", f"sub-{number}_ses-1")
    notes.add(Kind.OTHER, "one of the cohort")
    write_notes(tmp_path / "notes.tsv", notes.notes)
    assert read_notes(tmp_path / "notes.tsv") == notes.notes
    lines = grouped({name: notes.notes for name in ("a", "b", "c")}, "data/<cohort>/notes.tsv")
    assert len(lines) <= 20 and max(map(len, lines)) <= 120
    assert "(500 notes), such as: sub-0_ses-1: sentence 0" in lines[1] and "more lines" in lines[-1]
    assert grouped({"a": []}, "") == []


def test_check_says_what_ingest_will_do(folder, tmp_path):
    folder.images("sub-02_ses-1").put("sub-A_1/anat/sub-A_1_T1w.nii.gz")
    folder.put("sub-03/anat/sub-02_T1w.nii.gz")
    folder.plan()
    own = {"source": "bids", "path": str(folder.source), "pattern": "*_T1w.nii*", "run": "first", "modalities": ["T1w"]}
    text = "\n".join(preview({"own": own}, tmp_path))
    assert "own: 2 scan(s) of 2 participant(s), 1 excluded before reading" in text
    assert "excluded: sub-03_ses-1: sub-02_T1w.nii.gz is named as sub-02" in text
    assert "own, names changed to BIDS labels: sub-A1: A_1 of study is sub-A1 here" in text


def test_a_target_after_configfile_is_explained_by_check(tmp_path):
    command = [sys.executable, "-m", "neurocohort", "check", "config/ixi.yaml", "report"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 2 and "put it before --configfile" in done.stderr
