"""Texts that attack what reads them: YAML that grows or never ends, cells that a spreadsheet runs, workbooks that unpack to
gigabytes. Each ends at once with a sentence, or is made harmless with a note."""

import csv
import io
import os
import stat
import zipfile

import openpyxl
import pytest
from bad_files import good, zipped
from limited import limited
from neurocohort.errors import InputError
from neurocohort.files import read_table
from neurocohort.sources.cells import read_sheet
from neurocohort.sources.table import ingest_table
from neurocohort.sources.table_plan import plan_table
from neurocohort.study.configuration import load_configuration

KIND = "Text that attacks what reads it"

SOON_S = 120  # against seconds: a bomb takes for ever
SHEET = "xl/worksheets/sheet1.xml"


def alias_bomb(item: str, levels: int = 12) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} " + item.format(*[f"*a{level - 1}"] * 9))
    return "\n".join(lines)


LISTS = "[{}, {}, {}, {}, {}, {}, {}, {}, {}]"
MERGES = "a0: &a0 {x: 1}\n" + "\n".join(
    f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}" for level in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (alias_bomb(LISTS), "its aliases make it grow"),
        (
            alias_bomb("{{a: {0}, b: {1}, c: {2}, d: {3}, e: {4}, f: {5}, g: {6}, h: {7}, i: {8}}}"),
            "aliases make it grow",
        ),
        (MERGES, "its aliases make it grow"),
        ("a: &a [*a]", "an alias is inside the value to which it refers"),
        ("a: &a {b: *a}", "an alias is inside the value to which it refers"),
        ("a: " + "[" * 100_000, "nested more than"),
        ("a: " + "[" * 60 + "]" * 60, "nested more than"),
        ("\n".join(" " * depth + "a:" for depth in range(600)), "nested more than"),
        ("a: " + "9" * 5000, "can't be read"),
        ("a: 2021-13-45", "can't be read"),
        ("? [a, b]\n: c", "study.yaml"),
        ("a: !!int ''", "can't be read"),
        ("a: !!python/object/apply:os.system [id]", "study.yaml, line 1"),
        ("# " + "x" * (2 << 20), "has 2097154 bytes"),
    ],
)
def test_a_hostile_configuration_ends_at_once_with_a_sentence(tmp_path, text, word):
    study = tmp_path / "study.yaml"
    study.write_text(text)
    with limited(SOON_S), pytest.raises(InputError, match=word):
        load_configuration([study])


@pytest.mark.parametrize("kind", ["pipe", "zeros", "folder"])
def test_a_configuration_that_is_no_regular_file_is_refused(tmp_path, kind):
    study = tmp_path / "study.yaml"
    if kind == "pipe":
        os.mkfifo(study)
    elif kind == "folder":
        study.mkdir()
    else:
        study.symlink_to("/dev/zero")
    with pytest.raises(InputError, match="and a regular file is expected"):
        load_configuration([study])


def test_aliases_that_a_study_uses_are_followed(tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text("a: &a {x: 1, y: [2, 3]}\nb: *a\nc: {<<: *a, x: 4}\n")
    assert load_configuration([study])["c"] == {"x": 4, "y": [2, 3]}


@pytest.fixture
def ingested(tmp_path):
    def ingest(*rows: list[str], mode: int = 0o644, name: str = "a.nii"):
        table, image = tmp_path / "scans.csv", tmp_path / name
        image.write_bytes(zipped(good()) if name.endswith(".gz") else good())
        image.chmod(mode)
        with table.open("w", newline="") as stream:
            csv.writer(stream).writerows(rows)
        table.chmod(mode)
        result = ingest_table(table, tmp_path / "data")
        return read_table(tmp_path / "data" / "scans.tsv"), " ".join(result.notes)

    return ingest


def test_texts_that_a_spreadsheet_would_run_are_neutralised_with_a_note_and_numbers_stay(ingested):
    header = ["participant_id", "path", "site", "score", "grade", "marker", "word"]
    scans, notes = ingested(
        header,
        ["01", "a.nii", "=cmd|' /C calc'!A0", "-3.5", "-2", "+", "@SUM(A1)"],
        ["02", "a.nii", "+1+1", "+4", "n-2", "-", "-x"],
        ["03", "a.nii", "North", "1e-3", "-1,5", "", "plain=1"],
    )
    assert scans["site"].tolist() == ["'=cmd|' /C calc'!A0", "'+1+1", "North"]
    assert scans["score"].tolist() == [-3.5, 4.0, 0.001]
    assert scans["grade"].tolist() == ["-2", "n-2", "-1,5"] and scans["marker"].tolist()[:2] == ["+", "-"]
    assert scans["word"].tolist() == ["'@SUM(A1)", "'-x", "plain=1"]
    assert (
        "2 text(s) of site begin with =, +, - or @" in notes
        and "2 text(s) of word" in notes
        and "of grade begin" not in notes
    )


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, 0o644])
def test_whoever_may_not_read_an_image_or_a_table_may_not_read_what_is_made_of_it(ingested, tmp_path, mode):
    ingested(["participant_id", "path"], ["01", "a.nii"], mode=mode)
    (image,) = (tmp_path / "data").glob("sub-01/ses-1/anat/*.nii.gz")
    for made in (image, *(tmp_path / "data" / name for name in ("scans.tsv", "participants.tsv"))):
        assert stat.S_IMODE(made.stat().st_mode) & 0o077 == mode & 0o044


def workbook(**cells) -> bytes:
    book = openpyxl.Workbook()
    for place, value in cells.items():
        book.active[place] = value
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def with_part(content: bytes, name: str, change) -> bytes:
    edited = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(edited, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.infolist():
            data = old.read(part)
            new.writestr(part.filename, change(data) if part.filename == name else data)
    return edited.getvalue()


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: workbook(A1="participant_id", B1="path", XFD1048576="x"), "reach to row 1048576 and column 16384"),
        (
            lambda: with_part(
                workbook(A1="participant_id", XFD1048576="x"), SHEET, lambda data: data.replace(b"<c r=", b"<c  r=")
            ),
            "reach to row 1048576 and column 16384",
        ),
        (
            lambda: with_part(
                workbook(A1="participant_id"),
                SHEET,
                lambda data: data.replace(
                    b"</sheetData>", b'</sheetData><mergeCells><mergeCell ref="A1:XFD1048576"/></mergeCells>'
                ),
            ),
            "reach to row 1048576 and column 16384",
        ),
        (
            lambda: with_part(workbook(A1="x"), "xl/workbook.xml", lambda data: data + b" " * (600 << 20)),
            "unpacks to more than",
        ),
        (lambda: b"participant_id,path\n" + b"," * 11_000_000, "more than 10000000 cells"),
        (lambda: b"participant_id,path\n" + b'"' + b"x" * 300_000, "row 2 has a quote that isn't closed"),
    ],
)
def test_a_table_that_would_fill_the_memory_is_refused(tmp_path, make, word):
    table = tmp_path / "scans.csv"
    table.write_bytes(make())
    with pytest.raises(InputError, match=word):
        plan_table(table)


def test_a_sheet_that_claims_a_million_rows_has_the_rows_that_it_has():
    claimed = with_part(
        workbook(A1="a", B1="b", A2=1, B2=2),
        SHEET,
        lambda data: data.replace(b'ref="A1:B2"', b'ref="A1:XFD1048576"'),
    )
    assert read_sheet(claimed).rows == [["a", "b"], [1, 2]]
