"""Bad tables of BIDS folders (participants.tsv), of IXI and of OASIS-1, each by name: its content, and what must come out."""

import csv
import datetime
import io
import json
from typing import NamedTuple

import openpyxl
from bad_tables import Table, lines
from outcomes import Must


def people(*rows: str, header: str = "participant_id age sex") -> bytes:
    return lines(*("\t".join(row.split()) for row in (header, *rows)))


BOTH = people("sub-01 31 M", "sub-02 42 F")
BOTH_AS_THEY_ARE = {"age": ["31", "42"], "sex": ["M", "F"]}


class People(NamedTuple):
    """participants.tsv of a BIDS folder with images of sub-01 and sub-02, and the data dictionary beside it."""

    content: bytes
    must: Must
    dictionary: dict | bytes = b"{}"

    @property
    def json(self) -> bytes:
        return self.dictionary if isinstance(self.dictionary, bytes) else json.dumps(self.dictionary).encode()


PARTICIPANTS: dict[str, People] = {
    "commas in participants.tsv": People(BOTH.replace(b"\t", b","), Must(values=BOTH_AS_THEY_ARE)),
    "identifiers without sub-": People(BOTH.replace(b"sub-", b""), Must(values=BOTH_AS_THEY_ARE)),
    "names in other capitals": People(
        people("sub-01 31 M", "sub-02 42 F", header="Participant_ID AGE Sex"), Must(values=BOTH_AS_THEY_ARE)
    ),
    "zeros that a spreadsheet took": People(people("1 31 M", "2 42 F"), Must("and none of them has an image")),
    "one of two identifiers in other capitals": People(
        BOTH.replace(b"sub-02", b"sub-O2"),
        Must(noted=("1 of the 2 participants of the tables have no image: sub-O2", "in no table and stay with n/a")),
    ),
    "a row twice": People(BOTH + b"sub-01\t31\tM\n", Must(values=BOTH_AS_THEY_ARE)),
    "two rows that differ": People(BOTH + b"sub-01\t35\tM\n", Must("rows 2 and 4 are both of sub-01 and differ")),
    "months": People(
        people("sub-01 372 M", "sub-02 504 F"), Must(values=BOTH_AS_THEY_ARE), {"age": {"Units": "months"}}
    ),
    "months by the key Unit": People(
        people("sub-01 372 M", "sub-02 504 F"), Must(values=BOTH_AS_THEY_ARE), {"Age": {"Unit": "Months"}}
    ),
    "months by the long name": People(
        people("sub-01 372 M", "sub-02 504 F"), Must(values=BOTH_AS_THEY_ARE), {"age": {"LongName": "Age in months"}}
    ),
    "an unknown unit by the key unit": People(BOTH, Must("`Units` of age is 'decades'"), {"age": {"unit": "decades"}}),
    "an unknown unit": People(BOTH, Must("`Units` of age is 'decades'"), {"age": {"Units": "decades"}}),
    "codes that Levels explain": People(
        people("sub-01 31 1", "sub-02 42 2"),
        Must(values=BOTH_AS_THEY_ARE),
        {"sex": {"Levels": {"1": "male", "2": "female"}}},
    ),
    "Levels against their codes": People(
        BOTH, Must("has the meaning 'female' for 'M'"), {"sex": {"Levels": {"M": "female", "F": "male"}}}
    ),
    "Levels without a sex": People(
        BOTH.replace(b"M", b"1"),
        Must("none of their meanings is male or female"),
        {"sex": {"Levels": {"1": "a", "2": "b"}}},
    ),
    "a value that Levels don't know": People(
        people("sub-01 31 A", "sub-02 42 Z", header="participant_id age group"),
        Must(noted="'Z', which its `Levels` don't explain"),
        {"group": {"Levels": {"A": "first"}}},
    ),
    "a damaged data dictionary": People(
        BOTH, Must(noted="participants.json can't be read as JSON", values=BOTH_AS_THEY_ARE), b"{,}"
    ),
    "decimal commas as ages": People(people("sub-01 31,5 M", "sub-02 42 F"), Must(noted="Write decimals with a point")),
    "UTF-16 as participants.tsv": People(BOTH.decode().encode("utf-16"), Must("expected .csv or .tsv in UTF-8")),
    "participants.tsv without participants": People(
        people("sub-01 31", header="subject age"), Must("lacks the column(s) participant_id")
    ),
    "an empty participants.tsv": People(b"", Must("lacks the column(s) participant_id")),
}

IXI_COLUMNS = [
    "IXI_ID",
    "SEX_ID (1=m, 2=f)",
    "HEIGHT",
    "WEIGHT",
    "ETHNIC_ID",
    "MARITAL_ID",
    "OCCUPATION_ID",
    "QUALIFICATION_ID",
    "AGE",
]
IXI_ROW = {
    "SEX_ID (1=m, 2=f)": 2,
    "HEIGHT": 170,
    "WEIGHT": 60,
    "ETHNIC_ID": 1,
    "MARITAL_ID": 2,
    "OCCUPATION_ID": 1,
    "QUALIFICATION_ID": 5,
    "AGE": 35.5,
}


def ixi(*changes: dict, without: str = "") -> bytes:
    """IXI's spreadsheet as text, with the rows of IXI012, IXI013, ... that have other values than usual."""
    return as_csv(
        [name for name in IXI_COLUMNS if name != without],
        [{"IXI_ID": 12 + n, **IXI_ROW, **one} for n, one in enumerate(changes)],
    )


def as_csv(columns: list[str], rows: list[dict]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_xlsx(columns: list[str], row: dict) -> bytes:
    book = openpyxl.Workbook()
    book.active.append(columns)
    book.active.append([row[name] for name in columns])
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


# The archive has images of IXI012 and IXI013.
IXI: dict[str, Table] = {
    "IXI: a number that is nobody's": Table(
        ixi({}, {}, {"IXI_ID": 0}), Must(excluded="Row 4 of the spreadsheet has the IXI_ID '0'")
    ),
    "IXI: two rows that disagree": Table(
        ixi({}, {"IXI_ID": 12, "AGE": 60}, {"IXI_ID": 13}),
        Must(excluded="2 rows of this participant that disagree in age"),
    ),
    "IXI: an unknown sex": Table(ixi({"SEX_ID (1=m, 2=f)": 3}), Must("holds 3; known are 0 (missing), 1 (M), 2 (F)")),
    "IXI: an unknown code": Table(ixi({"ETHNIC_ID": 9}), Must("row 2, column 'ETHNIC_ID' holds 9")),
    "IXI: an age of 355": Table(ixi({}, {"AGE": 355}), Must("row 3, column 'AGE' holds 355, and 0 to 120 is expected")),
    "IXI: a negative age": Table(ixi({"AGE": -35.5}), Must("row 2, column 'AGE' holds -35.5, and 0 to 120")),
    "IXI: an age that isn't finite": Table(ixi({"AGE": "inf"}), Must("row 2, column 'AGE' holds 'inf' where a number")),
    "IXI: an age with a decimal comma": Table(
        ixi({"AGE": "35,5"}), Must("row 2, column 'AGE' holds '35,5' where a number")
    ),
    "IXI: an age with an underscore": Table(
        ixi({"AGE": "3_5"}), Must("row 2, column 'AGE' holds '3_5' where a number")
    ),
    "IXI: no age": Table(ixi({}, {"AGE": ""}), Must(values={"age": ["35.5", "n/a"]})),
    "IXI: an age of 0": Table(ixi({}, {"AGE": 0}), Must(values={"age": ["35.5", "n/a"]})),
    "IXI: yes for an age": Table(
        as_xlsx(IXI_COLUMNS, {"IXI_ID": 12, **IXI_ROW, "AGE": True}), Must("'AGE' holds True where a number")
    ),
    "IXI: a date for an age": Table(
        as_xlsx(IXI_COLUMNS, {"IXI_ID": 12, **IXI_ROW, "AGE": datetime.datetime(1950, 1, 31)}),
        Must("where a number is expected"),
    ),
    "IXI: heights in metres": Table(
        ixi({"HEIGHT": 1.7}, {"HEIGHT": 1.82}),
        Must(noted="2 cell(s) of HEIGHT in the spreadsheet are outside 100 to 250", values={"height_cm": ["n/a"] * 2}),
    ),
    "IXI: a weight in grams": Table(
        ixi({"WEIGHT": 60000}, {}), Must(noted="1 cell(s) of WEIGHT", values={"weight_kg": ["n/a", "60"]})
    ),
    "IXI: without ages": Table(ixi({}, without="AGE"), Must("lacks the column(s) AGE")),
    "IXI: a page of HTML": Table(b"<html>", Must("fetch it again")),
    "IXI: a row of another length": Table(ixi({}) + b"13,1,170,60,1,2,1,5\n", Must("row 3 has 8 cells")),
    "IXI: nobody's images": Table(
        ixi({"IXI_ID": 500}), Must(noted="1 of the 1 people in the spreadsheet have no T1 image")
    ),
}

OASIS_COLUMNS = ["ID", "M/F", "Hand", "Age", "Educ", "SES", "MMSE", "CDR", "eTIV", "nWBV", "ASF", "Delay"]
OASIS_ROW = {"ID": "OAS1_0001_MR1", "M/F": "F", "Hand": "R", "Age": 74, "Educ": 2, "SES": 3, "MMSE": 29, "CDR": 0}
OASIS_ROW |= {"eTIV": 1344, "nWBV": 0.743, "ASF": 1.306, "Delay": "N/A"}


def oasis(*changes: dict, without: str = "") -> bytes:
    return as_csv([name for name in OASIS_COLUMNS if name != without], [OASIS_ROW | change for change in changes])


# The disc has the session OAS1_0001_MR1.
OASIS: dict[str, Table] = {
    "OASIS-1: a row of no session": Table(
        oasis({}, {"ID": "OAS1_1_MR1"}), Must(excluded="Row 3 of the table has the ID 'OAS1_1_MR1'")
    ),
    "OASIS-1: rows that disagree": Table(
        oasis({}, {"Age": 75}, {"ID": "OAS1_0002_MR1"}),
        Must(excluded=("two rows of this session that disagree", "Disc 1 has no folder of this session")),
    ),
    "OASIS-1: an unknown sex": Table(oasis({"M/F": "X"}), Must("row 2, column 'M/F' holds 'X'; M or F is expected")),
    "OASIS-1: an age of 740": Table(
        oasis({"Age": 740}), Must("row 2, column 'Age' holds 740, and 0 to 120 is expected")
    ),
    "OASIS-1: 99 for a missing MMSE": Table(oasis({"MMSE": 99}), Must("row 2, column 'MMSE' holds 99, and 0 to 30")),
    "OASIS-1: 9 for a missing CDR": Table(oasis({"CDR": 9}), Must("row 2, column 'CDR' holds 9, and 0 to 3")),
    "OASIS-1: no CDR": Table(oasis({"CDR": ""}), Must(values={"cdr": ["n/a"], "dementia": ["n/a"]})),
    "OASIS-1: years of education": Table(oasis({"Educ": 16}), Must("row 2, column 'Educ' holds 16, and 1 to 5")),
    "OASIS-1: a volume with a decimal comma": Table(
        oasis({"nWBV": "0,743"}), Must("row 2, column 'nWBV' holds '0,743'")
    ),
    "OASIS-1: without a column": Table(oasis({}, without="CDR"), Must("lacks the column(s) CDR")),
    "OASIS-1: sessions in small letters": Table(
        oasis({"ID": "oas1_0001_mr1"}), Must(excluded="names no session", noted="1 session(s) have no row")
    ),
}
