"""Bad tables, each by name: its content, and what must come out.

They are a user's tables of scans, and studies that ask for something that a table lacks; `bad_cohort_tables` has the others."""

import datetime
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import openpyxl
from bad_files import zipped
from outcomes import Must


class Table(NamedTuple):
    """``content``: bytes, or a function that makes them of the folder in which the table is written."""

    content: bytes | Callable[[Path], bytes]
    must: Must
    name: str = "scans.csv"


def lines(*rows: str) -> bytes:
    return ("\n".join(rows) + "\n").encode()


def own(*rows: str, header: str = "participant_id,path,age,group") -> bytes:
    return lines(header, *rows)


def scores(*values: str) -> bytes:
    """Three scans with a variable ``score``, between tabs."""
    images = ("a.nii.gz", "b.nii.gz", "c.nii.gz")
    rows = (f"{number}\t{image}\t{value}" for number, (image, value) in enumerate(zip(images, values, strict=True), 1))
    return lines("participant_id\tpath\tscore", *rows)


def column(name: str, *values: str) -> bytes:
    return scores(*values).replace(b"score", name.encode())


GOOD = own("01,a.nii.gz,31,AD", "02,b.nii.gz,42.5,CN")
AS_GOOD = Must(values={"participant_id": ["sub-01", "sub-02"], "age": ["31", "42.5"], "group": ["AD", "CN"]})
TWO = {"participant_id": ["sub-01", "sub-02"]}


def workbook(*rows: list, change: Callable[[openpyxl.Workbook], None] = lambda book: None) -> bytes:
    """A .xlsx with ``rows`` below the header of `own`."""
    book = openpyxl.Workbook()
    for row in (["participant_id", "path", "age", "group"], *(rows or SHEET)):
        book.active.append(row)
    change(book)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


SHEET = (["01", "a.nii.gz", 31, "AD"], ["02", "b.nii.gz", 42.5, "CN"])


def hidden_row(book: openpyxl.Workbook) -> None:
    book.active.row_dimensions[3].hidden = True


def hidden_columns(book: openpyxl.Workbook) -> None:
    book.active.column_dimensions.group("C", "D", hidden=True)


def hidden_sheet(book: openpyxl.Workbook) -> None:
    book.create_sheet("Seen").append(["participant_id", "path"])
    book.active.sheet_state = "hidden"
    book.active = 1


def half_calculated() -> bytes:
    """A workbook in which a program calculated one of two formulas."""
    content = io.BytesIO(workbook(["01", "a.nii.gz", "=30+1", "AD"], ["02", "b.nii.gz", "=B9", "CN"]))
    edited = io.BytesIO()
    with zipfile.ZipFile(content) as old, zipfile.ZipFile(edited, "w") as new:
        for part in old.namelist():
            new.writestr(part, re.sub(rb"(<f>30\+1</f>)<v ?/?>(</v>)?", rb"\1<v>31</v>", old.read(part)))
    return edited.getvalue()


def other_zip() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as parts:
        parts.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
    return content.getvalue()


def in_cohort(folder: Path) -> bytes:
    image = folder / "data" / "a.nii.gz"
    image.parent.mkdir()
    image.touch()
    return own("01,data/a.nii.gz,31,AD")


CANT_BE_READ = "can't be read as a table"
LACKS = "lacks the column(s)"
XLSX = "scans.xlsx"
TSV = "scans.tsv"

OWN: dict[str, Table] = {
    # encodings and other files
    "UTF-16": Table(GOOD.decode().encode("utf-16"), Must("expected .csv or .tsv in UTF-8")),
    "UTF-16 without a byte order mark": Table(GOOD.decode().encode("utf-16-le"), Must("it is not a table of text")),
    "Latin-1": Table(GOOD.replace(b"AD", b"M\xfcller"), Must("expected .csv or .tsv in UTF-8")),
    "byte order mark": Table(b"\xef\xbb\xbf" + GOOD, AS_GOOD),
    "NUL bytes at the end": Table(GOOD + bytes(512), Must("it is not a table of text")),
    "carriage returns alone": Table(GOOD.replace(b"\n", b"\r"), AS_GOOD),
    "Windows' line ends and empty lines": Table(GOOD.replace(b"\n", b"\r\n\r\n"), AS_GOOD),
    "no line end at the end": Table(GOOD.rstrip(), AS_GOOD),
    "JSON": Table(b'[{"participant_id": "01", "path": "a.nii.gz"}]', Must(LACKS)),
    "a page of HTML named .xls": Table(
        b"<table><tr><td>participant_id", Must("it is not a table of text"), "scans.xls"
    ),
    "gzip": Table(zipped(GOOD), Must(CANT_BE_READ)),
    "a workbook with a password": Table(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(2000), Must(CANT_BE_READ), XLSX),
    "OpenDocument": Table(other_zip(), Must(CANT_BE_READ), "scans.ods"),
    "a workbook that is cut": Table(workbook()[:-200], Must(CANT_BE_READ), XLSX),
    "empty": Table(b"", Must("it has none")),
    "empty lines alone": Table(b"\n\n \n", Must("it has none")),
    "a header alone": Table(own(), Must("has a header and no row below it")),
    # separators, quotes and lengths of rows
    "pipes between the cells": Table(GOOD.replace(b",", b"|"), Must(LACKS)),
    "Excel's line with the separator": Table(b"sep=,\n" + GOOD, Must("it has sep=")),
    "a separator inside a text": Table(own("01,a.nii.gz,31,Smith, J"), Must("row 2 has 5 cells, and the header has 4")),
    "semicolons and decimal commas": Table(GOOD.replace(b",", b";").replace(b"42.5", b"42,5"), AS_GOOD),
    "a quote that never closes": Table(
        own('01,a.nii.gz,31,"AD', "02,b.nii.gz,42,CN"), Must("row 2 has a quote that isn't")
    ),
    "a line break inside a cell": Table(own('01,a.nii.gz,31,"A', 'D"'), Must("row 2 has a quote that isn't closed")),
    "a quote between tabs": Table(scores('"3', "4", "5"), Must("row 2 has a quote that isn't closed"), TSV),
    "a short row": Table(own("01,a.nii.gz,31,AD", "02,b.nii.gz"), Must("row 3 has 2 cells, and the header has 4")),
    "separators behind each row": Table(
        GOOD.replace(b"\n", b",,\n"), AS_GOOD._replace(noted="no name for its column(s) 5, 6")
    ),
    "two tables joined": Table(GOOD + GOOD, Must("row 4 repeats the header")),
    "a row of units below the header": Table(
        own(",,years,", "01,a.nii.gz,31,AD"), Must("row 2, column participant_id holds")
    ),
    "a row with the mean": Table(
        GOOD + b"Mean,,36.75,\n", AS_GOOD._replace(excluded="sub-Mean_ses-1 Row 4 of the table has no path.")
    ),
    # columns
    "without paths": Table(lines("participant_id,age", "01,31"), Must(f"{LACKS} path; it has participant_id, age")),
    "an identifier of another name": Table(lines("Subject ID,path", "01,a.nii.gz"), Must("it has Subject ID, path")),
    "a column twice": Table(
        own("01,a.nii.gz,31,AD", header="participant_id,path,group,group"),
        Must(noted="'group' of scans.csv is called group_2"),
    ),
    "the age under another name": Table(
        own("01,a.nii.gz,31,F", header="participant_id,path,age_years,Gender"),
        Must(noted=("Rename 'age_years' to age if it is the age in years", "Rename 'Gender' to sex if it is the sex")),
    ),
    "two columns of the age": Table(
        own("01,a.nii.gz,31,32", header="participant_id,path,Age,age"),
        Must(noted="2 columns that mean age: Age, age; age in column 4 is used", values={"age": ["32"]}),
    ),
    "names of columns that are ours": Table(
        own("01,a.nii.gz,31,AD", header="participant_id,path,fold,class"),
        Must(noted=("is called fold_ here", "is called class_ here"), values={"fold_": ["31"], "class_": ["AD"]}),
    ),
    "blanks around the names of columns": Table(GOOD.replace(b",age,", b", age ,"), AS_GOOD),
    # participants
    "an identifier twice": Table(
        own("01,a.nii.gz,31,A", "01,b.nii.gz,32,A"), Must("rows 2 and 3 are both of sub-01 ses-1")
    ),
    "identifiers that become one": Table(
        own("A_1,a.nii.gz,31,A", "A-1,b.nii.gz,32,A"), Must("which are both sub-A1 in BIDS")
    ),
    "identifiers that differ only in capitals": Table(
        own("A1,a.nii.gz,31,A", "a1,b.nii.gz,32,A"),
        Must(noted="sub-A1 and sub-a1 of scans.csv differ only in capitals"),
    ),
    "identifiers that differ in zeros": Table(
        own("1,a.nii.gz,31,A", "01,b.nii.gz,32,A"), Must(noted="differ only in capitals or leading zeros")
    ),
    "an identifier that is a code for a missing one": Table(
        own("None,a.nii.gz,31,A"), Must("row 2, column participant_id holds 'None'")
    ),
    "a session that is a code for a missing one": Table(
        own("01,a.nii.gz,null", header="participant_id,path,session_id"), Must("row 2, column session_id holds 'null'")
    ),
    "an empty identifier": Table(own(",a.nii.gz,31,A"), Must("row 2, column participant_id holds nothing")),
    "a decimal identifier": Table(own("1.5,a.nii.gz,31,A"), Must("row 2, column participant_id holds '1.5'")),
    "an identifier without a letter of BIDS": Table(own("日本,a.nii.gz,31,A"), Must("letters, digits and +")),
    "an identifier with accents": Table(
        own("André_1,a.nii.gz,31,A"), Must(noted="André_1 of scans.csv is sub-Andr1 here")
    ),
    # values
    "decimal commas between tabs": Table(
        scores("22,5", "23,1", "24"), Must(noted=("score is categories and not a number", "decimals with a point")), TSV
    ),
    "thousands": Table(scores("1,234.5", "2,345.0", "3"), Must(noted="score is categories and not a number"), TSV),
    "below a limit of detection": Table(scores("<5", "7", "9"), Must(noted="'<5' in addition to numbers"), TSV),
    "measures with their units": Table(
        scores("50 kg", "61kg", "70"), Must(noted="score is categories and not a number"), TSV
    ),
    "shares of a hundred": Table(scores("50%", "20 %", "10%"), Must(noted="score is categories and not a number"), TSV),
    "blanks in thousands": Table(
        scores("1 234", "2 000", "3"), Must(noted="score is categories and not a number"), TSV
    ),
    "sites of numbers": Table(
        column("site", "1", "2", "1.0"), Must(noted="'1', '1.0', which differ only in capitals, blanks or zeros"), TSV
    ),
    "a tab inside a text": Table(
        own("01,a.nii.gz,31,A\tB"), Must(noted="in 1 text(s) of group; here they are blanks", values={"group": ["A B"]})
    ),
    "missing as -9": Table(
        scores("-9", "28", "29"), Must(noted="holds -9 for 1 scan(s), which is used as a value"), TSV
    ),
    "missing as -4 and -1": Table(column("moca", "-4", "-1", "25"), Must(noted="holds -1, -4 for 2 scan(s)"), TSV),
    "missing as 88 and 99": Table(column("mmse", "88", "99", "25"), Must(noted="holds 88, 99 for 2 scan(s)"), TSV),
    "missing as 9999": Table(scores("9999", "28", "29"), Must(noted="holds 9999 for 1 scan(s)"), TSV),
    "contrasts of -1 and 1": Table(scores("-1", "1", "1"), Must(values={"score": ["-1", "1", "1"]}), TSV),
    "missing as texts": Table(
        scores("None", "N.A.", "24"),
        Must(noted="2 scan(s) have n/a for score", values={"score": ["n/a", "n/a", "24"]}),
        TSV,
    ),
    "n/a in all its forms": Table(scores("NA", " n/a ", "24"), Must(values={"score": ["n/a", "n/a", "24"]}), TSV),
    "an unknown class": Table(column("group", "AD", "unknown", "CN"), Must(noted="holds unknown for 1 scan(s)"), TSV),
    "classes that differ only in capitals": Table(
        column("group", "AD", "ad", "CN"),
        Must(noted="'AD', 'ad', which differ only in capitals, blanks or zeros"),
        TSV,
    ),
    "sites that differ in blanks that nobody sees": Table(
        column("site", "North", "North\u200b", "No rth"),
        Must(noted="which differ only in capitals, blanks or zeros and are 3"),
        TSV,
    ),
    "a negative age": Table(
        column("age", "-9", "999", "24"), Must(noted="2 scan(s) have n/a for age", values={"age": ["n/a", "n/a", "24"]})
    ),
    "an age of 0 among adults": Table(
        column("age", "0", "31", "24"), Must(noted="holds 0 for 1 scan(s), which is used as an age"), TSV
    ),
    "newborns": Table(column("age", "0", "0.5", "1"), Must(values={"age": ["0", "0.5", "1"]}), TSV),
    "dates of birth as ages": Table(
        column("age", "1950-01-31", "31.01.1950", "24"),
        Must(noted="2 scan(s) have n/a for age", values={"age": ["n/a", "n/a", "24"]}),
        TSV,
    ),
    "ages in months": Table(column("age", "372", "480", "612"), Must(noted="3 scan(s) have n/a for age"), TSV),
    "ages with a unit": Table(column("age", "31 y", "31y", "24"), Must(noted="Expected years from 0 to 120"), TSV),
    "codes of sex": Table(
        column("sex", "1", "2", "f"), Must(noted="Accepted are m, male", values={"sex": ["n/a", "n/a", "F"]}), TSV
    ),
    "sex in another language": Table(
        column("sex", "W", "Mann", "M"), Must(noted="Accepted are", values={"sex": ["n/a", "n/a", "M"]}), TSV
    ),
    "formulas": Table(
        own("01,a.nii.gz,31,=1+1", "02,b.nii.gz,32,@x"), Must(noted="begin with =", values={"group": ["'=1+1", "'@x"]})
    ),
    # workbooks
    "merged cells": Table(
        workbook(change=lambda book: book.active.merge_cells("D2:D3")), Must("rows 2 to 3 have merged cells"), XLSX
    ),
    "a formula without its value": Table(
        workbook(["01", "a.nii.gz", "=1+1", "A"]), Must("row 2, column C holds a formula without its value"), XLSX
    ),
    "one of two formulas without its value": Table(
        half_calculated(), Must(noted="1 formula(s) without a value (C3)", values={"age": ["31", "n/a"]}), XLSX
    ),
    "a hidden row": Table(
        workbook(change=hidden_row), AS_GOOD._replace(noted="1 hidden row(s) (3), which are read"), XLSX
    ),
    "hidden columns": Table(
        workbook(change=hidden_columns), AS_GOOD._replace(noted="2 hidden column(s) (3, 4), which"), XLSX
    ),
    "a hidden first sheet": Table(workbook(change=hidden_sheet), AS_GOOD._replace(noted="hidden sheet (Sheet)"), XLSX),
    "several sheets": Table(
        workbook(change=lambda book: book.create_sheet("More")),
        AS_GOOD._replace(noted="2 sheets (Sheet, More); the first"),
        XLSX,
    ),
    "an empty first sheet": Table(
        workbook(change=lambda book: book.create_sheet("Front", 0)),
        Must("it has none in Front, the first of its 2 sheets"),
        XLSX,
    ),
    "line breaks inside cells": Table(
        workbook(["01", "a.nii.gz", 31, "A\nB"], ["02", "b.nii.gz", 42, "A\r\nB"]),
        Must(noted="in 2 text(s) of group; here they are blanks", values={"group": ["A B", "A B"]}),
        XLSX,
    ),
    "a cell with an error": Table(
        workbook(["01", "a.nii.gz", "#REF!", "A"], ["02", "b.nii.gz", 42, "#N/A"]),
        Must(noted=("n/a for age", "holds #N/A for 1"), values={"age": ["n/a", "42"]}),
        XLSX,
    ),
    "an error for an identifier": Table(
        workbook(["#REF!", "a.nii.gz", 31, "A"]), Must("column participant_id holds '#REF!'"), XLSX
    ),
    "yes and no": Table(
        workbook(["01", "a.nii.gz", True, True], ["02", "b.nii.gz", 42, False]),
        Must(noted="1 scan(s) have n/a for age", values={"age": ["n/a", "42"], "group": ["True", "False"]}),
        XLSX,
    ),
    "a date that a program made of an age": Table(
        workbook(["01", "a.nii.gz", datetime.datetime(1900, 1, 31), "A"]),
        Must(noted="1 scan(s) have n/a for age"),
        XLSX,
    ),
    "a date that a program made of an identifier": Table(
        workbook([datetime.datetime(2026, 3, 1), "a.nii.gz", 31, "A"]),
        Must(noted="2026-03-01 of scans.xlsx is sub-20260301"),
        XLSX,
    ),
    "numbers for identifiers": Table(
        workbook([1, "a.nii.gz", 31, "A"]), Must(values={"participant_id": ["sub-1"]}), XLSX
    ),
    # paths
    "absolute paths": Table(lambda folder: GOOD.replace(b"a.nii", f"{folder}/a.nii".encode()), AS_GOOD),
    "a path outside": Table(lambda folder: GOOD.replace(b"a.nii", f"../{folder.name}/a.nii".encode()), AS_GOOD),
    "blanks around a path": Table(GOOD.replace(b"a.nii.gz", b" a.nii.gz  "), AS_GOOD),
    "an image that isn't there": Table(
        GOOD + b"03,x.nii.gz,1,A\n", AS_GOOD._replace(excluded="sub-03_ses-1 x.nii.gz is not there")
    ),
    "an image in other capitals": Table(
        GOOD + b"03,C.NII.GZ,1,A\n", AS_GOOD._replace(excluded="sub-03_ses-1 C.NII.GZ is not there")
    ),
    "Windows' path": Table(GOOD + b"03,scans\\c.nii.gz,1,A\n", AS_GOOD._replace(excluded="is not there")),
    "an address": Table(GOOD + b"03,s3://bucket/c.nii.gz,1,A\n", AS_GOOD._replace(excluded="is not there")),
    "the home of nobody": Table(
        GOOD + b"03,~nosuchuser/c.nii.gz,1,A\n", AS_GOOD._replace(excluded="is no home folder")
    ),
    "a folder": Table(GOOD + b"03,.,1,A\n", AS_GOOD._replace(excluded="sub-03_ses-1")),
    "no path in a row": Table(GOOD + b"03,n/a,1,A\n", AS_GOOD._replace(excluded="Row 4 of the table has no path")),
    "an image of a second modality alone": Table(
        own("01,a.nii.gz,31,b.nii.gz", header="participant_id,path,age,path_T2w"), Must(values={"age": ["31"]})
    ),
    "one image for two": Table(
        lambda folder: own("01,a.nii.gz,31,AD", f"02,{folder}/a.nii.gz,42.5,CN"),
        AS_GOOD._replace(noted="2 scans have the same image, a.nii.gz"),
    ),
    "another's image": Table(
        own("01,sub-07_T1w.nii.gz,31,A"), Must(noted="named as sub-07, and is used for this participant")
    ),
    "no image is there": Table(own("01,x.nii.gz,31,A"), Must("names 1 image(s), and none of them is there")),
    "an image in the folder that is written": Table(in_cohort, Must("is inside")),
}


STUDY_ROWS = [f"{number},a.nii.gz,{60 + number},,{'AD' if number > 3 else 'CN'},north,3" for number in range(1, 5)]
STUDY = lines("participant_id,path,age,mmse,group,site,size", *STUDY_ROWS)
CLASSES = {"task": "classification", "target": "group", "classes": ["CN", "AD"]}

# What an experiment asks of STUDY, and the words of the error before anything runs.
STUDIES: dict[str, tuple[dict, str]] = {
    "a target without a value": ({"target": "mmse"}, "none of the 4 scans of `own` has a value of it"),
    "a target that no table has": ({"target": "gruop"}, "gruop"),
    "a target that is the same for all": ({"target": "size"}, "nothing can be learned"),
    "a target of texts": ({"target": "group"}, "group"),
    "a class that no scan has": (CLASSES | {"classes": ["CN", "MCI"]}, "'MCI', which no scan has as group"),
    "a class in other capitals": (CLASSES | {"classes": ["CN", "ad"]}, "'ad', which no scan has as group"),
    "a filter that leaves nobody": ({"filter": "age > 200"}, "leaves none of the 4 scans"),
    "a filter that leaves too few": ({"filter": "age < 63"}, "expected at least 3"),
    "a filter of another kind": ({"filter": "site > 3"}, "compares 'north' with 3"),
    "a filter of a column that isn't there": ({"filter": "ages > 3"}, "ages"),
    "a site that no scan has": ({"leave_one_site_out": ["nort"]}, "did you mean `north`"),
}
