"""What holds for every table and archive of the public sources, tried on examples that hypothesis draws."""

import csv
import math
import re
import shutil
import tarfile

import openpyxl
from examples import examples
from fuzz_seeds import IXI_COLUMNS, IXI_ROWS, OASIS1_COLUMNS, OASIS1_ROWS, ixi_members, oasis1_members, tar, zipped
from hypothesis import strategies as st
from neurocohort.errors import InputError
from neurocohort.files import read_table
from neurocohort.sources.ixi import ingest_ixi
from neurocohort.sources.ixi_table import CODED, SEX_COLUMN, SEXES, read_demographics
from neurocohort.sources.oasis1 import ingest_oasis1
from neurocohort.sources.oasis1_table import read_table as read_oasis1_table

KIND = "Properties of the parsers of IXI and OASIS-1"

# Texts that look like numbers, and all others.
NUMBERLIKE = st.text("0123456789.,eE+-_ xnaifNAIF٣½²\u00a0", max_size=8)
ANY_TEXT = st.one_of(NUMBERLIKE, st.text(max_size=12), st.sampled_from(["inf", "1_0", "+nan", "1e999", "72O", "-9"]))
PLAIN_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
MISSING = {"", "N/A", "NA", "NAN"}


def write_rows(path, columns, rows):
    """A table in the form of its name: .csv, .tsv, .xlsx, or a .csv with semicolons and decimal commas."""
    if path.suffix == ".xlsx":
        book = openpyxl.Workbook()
        for row in (columns, *rows):
            book.active.append(list(row))
        book.save(path)
        return path
    local = path.stem == "semicolons"
    cells = [
        [str(cell).replace(".", ",") if local and isinstance(cell, float) else cell for cell in row] for row in rows
    ]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=";" if local else "\t" if path.suffix == ".tsv" else ",")
        writer.writerows([columns, *cells])
    return path


FORMS = st.sampled_from(["commas.csv", "semicolons.csv", "tabs.tsv", "book.xlsx"])
YEARS = st.decimals(1, 120, places=2).map(float)
IXI_PEOPLE = st.dictionaries(
    st.integers(1, 999),
    st.tuples(
        st.sampled_from(["", 1, 2]),
        st.one_of(st.just(0), st.integers(100, 250)),
        st.one_of(st.just(0), st.integers(25, 300)),
        *(st.sampled_from([0, *coded.levels]) for coded in CODED.values()),
        st.one_of(st.just(0), YEARS),
    ),
    min_size=1,
    max_size=6,
)


@examples(60, people=IXI_PEOPLE, form=FORMS)
def test_every_valid_row_of_ixi_is_read_as_it_was_written(people, form, folder):
    path = write_rows(folder / form, IXI_COLUMNS, [[number, *values] for number, values in people.items()])
    found, conflicts, nameless, _ = read_demographics(path)
    assert not conflicts and not nameless
    assert found == {
        number: {
            "age": age or None,
            "sex": SEXES.get(sex),
            "height_cm": height or None,
            "weight_kg": weight or None,
            **{
                name: coded.levels[code][0] if code else None
                for (name, coded), code in zip(CODED.items(), codes, strict=True)
            },
        }
        for number, (sex, height, weight, *codes, age) in people.items()
    }


OASIS1_SESSIONS = st.dictionaries(
    st.tuples(st.integers(1, 457), st.sampled_from([1, 2])),
    st.tuples(
        st.sampled_from(["M", "F", "N/A"]),
        st.sampled_from(["R", "L"]),
        YEARS,
        st.sampled_from([0, 0.5, 1, 2, "N/A"]),
        st.one_of(st.integers(0, 30), st.just("")),
    ),
    min_size=1,
    max_size=6,
)


@examples(60, sessions=OASIS1_SESSIONS, form=FORMS)
def test_every_valid_row_of_oasis1_is_read_as_it_was_written(sessions, form, folder):
    name = "OAS1_{:04d}_MR{}".format
    rows = [[name(*key), *values, 2, 3, 1400, 0.75, 1.25, "N/A"] for key, values in sessions.items()]
    found, conflicts, nameless, _ = read_oasis1_table(write_rows(folder / form, OASIS1_COLUMNS, rows))
    assert not conflicts and not nameless and list(found) == [row[0] for row in rows]
    for (sex, hand, age, cdr, mmse), person in zip(sessions.values(), found.values(), strict=True):
        assert person["sex"] == (None if sex == "N/A" else sex) and person["handedness"][0].upper() == hand
        assert person["age"] == age and person["mmse"] == (None if mmse == "" else mmse)
        assert (person["cdr"], person["dementia"]) == ((None, None) if cdr == "N/A" else (cdr, int(cdr > 0)))


def number_in(text: str) -> float | None:
    """What a careful person reads: a plain finite number, or None."""
    text = text.strip()
    found = float(text) if PLAIN_NUMBER.fullmatch(text) and text.isascii() else math.inf
    return found if math.isfinite(found) else None


@examples(300, text=ANY_TEXT, column=st.sampled_from(["IXI_ID", SEX_COLUMN, "AGE"]))
def test_any_text_in_a_cell_of_ixi_is_its_number_or_missing_or_refused(text, column, folder):
    rows = [[*IXI_ROWS[0]]]
    rows[0][IXI_COLUMNS.index(column)] = text
    usual = read_demographics(write_rows(folder / "usual.csv", IXI_COLUMNS, IXI_ROWS[:1]))[0][1]
    try:
        people, conflicts, nameless, _ = read_demographics(write_rows(folder / "IXI.csv", IXI_COLUMNS, rows))
    except InputError as error:
        assert "IXI.csv" in str(error)
        return
    assert not conflicts and len(people) + len(nameless) == 1
    number, missing = number_in(text), text.strip().upper() in MISSING
    if column == "IXI_ID":
        expected = {} if missing or not 0 < number < 1000 or number % 1 else {int(number): usual}
        assert people == expected
        return
    name = "age" if column == "AGE" else "sex"
    value = None if missing or number == 0 else number if name == "age" else SEXES[number]
    assert people == {1: usual | {name: value}}
    assert name == "sex" or value is None or 0 < value <= 120


@examples(300, text=ANY_TEXT, column=st.sampled_from(["ID", "M/F", "Age", "CDR", "MMSE"]))
def test_any_text_in_a_cell_of_oasis1_is_its_value_or_missing_or_refused(text, column, folder):
    rows = [[*OASIS1_ROWS[0]]]
    rows[0][OASIS1_COLUMNS.index(column)] = text
    try:
        people, _, nameless, _ = read_oasis1_table(write_rows(folder / "oasis.csv", OASIS1_COLUMNS, rows))
    except InputError as error:
        assert "oasis.csv" in str(error)
        return
    if nameless:
        assert column == "ID" and not people
        return
    ((session, person),) = people.items()
    missing = text.strip().upper() in MISSING
    if column == "ID":
        assert session == text.strip() and re.fullmatch("OAS1_[0-9]{4}_MR[12]", session)
    elif column == "M/F":
        assert person["sex"] == (None if missing else text.strip().upper())
    else:
        assert person[column.lower()] == (None if missing else number_in(text))
    assert person["age"] is None or 0 <= person["age"] <= 120


def mutated(names: list[str]) -> st.SearchStrategy[str]:
    """One of ``names`` with a part of it replaced by some text, or as it is; what a tar member can be called."""

    def put(name: str, place: int, length: int, text: str) -> str:
        place %= len(name) + 1
        return name[:place] + text + name[place + length :]

    some = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)
    inserted = st.one_of(
        st.just(""), some, st.sampled_from(["٣", "/", "\n", " ", "0", "MR3", ".gz", "t1", "disc" + "1" * 5000 + "/"])
    )
    changed = st.builds(put, st.sampled_from(names), st.integers(0, 200), st.integers(0, 2), inserted)
    return st.one_of(st.sampled_from(names), changed).filter(lambda name: name.strip("/") and not name.startswith("/"))


IXI_NAMES = [
    "IXI012-HH-1211-T1.nii.gz",
    "IXI013-Guys-0999-T1.nii.gz",
    "IXI014-IOP-0001-T2.nii.gz",
    "a/IXI015-HH-0002-T1.nii.gz",
]


@examples(60, names=st.lists(mutated(IXI_NAMES), min_size=1, max_size=5, unique=True))
def test_images_of_ixi_are_those_with_the_documented_name_whoever_else_is_in_the_archive(names, folder):
    (image, *_) = ixi_members().values()
    shutil.rmtree(folder / "data", ignore_errors=True)
    (folder / "IXI-T1.tar").write_bytes(tar(dict.fromkeys(names, image), tarfile.PAX_FORMAT))
    table = write_rows(folder / "IXI.csv", IXI_COLUMNS, IXI_ROWS)
    found = [re.fullmatch(r"(?:(?s:.)*/)?IXI([0-9]{3})-(Guys|HH|IOP)-[0-9]{4}-T1\.nii\.gz", name) for name in names]
    expected = {}
    for match in filter(None, found):
        expected.setdefault(f"sub-IXI{match[1]}", match[2])
    try:
        ingest_ixi([folder / "IXI-T1.tar"], table, folder / "data")
    except InputError as error:
        assert not expected or ".." in str(names), error
        return
    assert dict(read_table(folder / "data/scans.tsv")[["participant_id", "site"]].to_numpy()) == expected


@examples(60, names=st.lists(mutated([*oasis1_members()]), min_size=1, max_size=8, unique=True))
def test_sessions_of_oasis1_are_those_with_the_documented_name_whoever_else_is_in_the_archive(names, folder):
    (header, voxels, *_) = oasis1_members().values()
    members = {name: voxels if name.endswith(".img") else header for name in names}
    members["disc1/OAS1_0009_MR1/PROCESSED/MPRAGE/SUBJ_111/OAS1_0009_MR1_mpr_n4_anon_sbj_111.hdr"] = header
    members["disc1/OAS1_0009_MR1/PROCESSED/MPRAGE/SUBJ_111/OAS1_0009_MR1_mpr_n4_anon_sbj_111.img"] = voxels
    shutil.rmtree(folder / "data", ignore_errors=True)
    (folder / "disc1.tar.gz").write_bytes(zipped(tar(members, tarfile.PAX_FORMAT)))
    table = write_rows(folder / "oasis.csv", OASIS1_COLUMNS, OASIS1_ROWS)
    try:
        ingest_oasis1([folder / "disc1.tar.gz"], table, folder / "data")
    except InputError as error:
        assert ".." in str(names), error
        return
    known = {f"sub-OAS1{match[1]}" for name in members if (match := re.search("OAS1_([0-9]{4})_MR[12]/", name))}
    scans, excluded = (read_table(folder / "data" / name) for name in ("scans.tsv", "exclusions.tsv"))
    assert "sub-OAS10009" in set(scans["participant_id"]) <= known
    assert set(excluded["participant_id"]) <= {*known, "sub-OAS10001", "sub-OAS10002"}
