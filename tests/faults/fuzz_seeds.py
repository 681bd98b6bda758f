"""What fuzz.py changes: a small valid file of each kind that the product reads, how it is packed, and what reads it."""

import csv
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import openpyxl
import pandas as pd
import xlwt
from bad_files import good
from neurocohort.dataset.split_file import read_split_file
from neurocohort.files import read_json, read_table
from neurocohort.imaging.reading import read_scan
from neurocohort.sources.bids_plan import plan_bids
from neurocohort.sources.ixi import ingest_ixi
from neurocohort.sources.ixi_table import CODED, SEX_COLUMN, read_demographics
from neurocohort.sources.oasis1 import KINDS, ingest_oasis1
from neurocohort.sources.oasis1_table import NUMBERS
from neurocohort.sources.oasis1_table import read_table as read_oasis1_table
from neurocohort.sources.table import ingest_table
from neurocohort.sources.table_plan import plan_table
from neurocohort.sources.variables import values_of_plan
from neurocohort.sources.whole_tables import why_table_is_cut
from neurocohort.study.configuration import read_checked
from neurocohort.synthetic.files import analyze_pair

IXI_COLUMNS = ("IXI_ID", SEX_COLUMN, "HEIGHT", "WEIGHT", *(coded.column for coded in CODED.values()), "AGE")
IXI_ROWS = [[n, 1 + n % 2, 170.5, 71, 1, 2, 1, 5, 30.25 + n] for n in (1, 2, 3)]
OASIS1_COLUMNS = ("ID", "M/F", "Hand", *NUMBERS.values())
OASIS1_ROWS = [[f"OAS1_000{n}_MR1", "MF"[n % 2], "R", 60 + n, 0.5, 29, 2, 3, 1400, 0.7, 1.2, "N/A"] for n in (1, 2)]
SCANS_COLUMNS = ("participant_id", "session_id", "path", "age", "sex", "site", "part", "fold")
SCANS_ROWS = [
    [f"{n:02d}", "1", "scan.nii", 20.5 + n, "MF"[n % 2], "north", part, n % 2 + 1 if part != "test" else ""]
    for n, part in enumerate(("train", "train", "validation", "validation", "test", "test"))
]
STUDY = """study: fuzzed
cohorts:
  ixi: {source: ixi, base_url: nowhere/ixi}
  oasis1: {source: oasis1, discs: [1, 2], accept_data_use_agreement: true}
split: {validation: 0.2, held_out: 0.35, folds: 3}
experiments:
  brain_age:
    task: regression
    target: age
    cohorts: [oasis1]
    external: [ixi]
    filter: age >= 18 and site in ["Guys", "WashU"]
    network: &network {name: sfcn, channels: [4, 8, 16], soft_bins: false}
    training: {epochs: 5, batch_size: 4, learning_rate: 0.01}
    sweep: {draws: 2, values: {training.learning_rate: {low: 0.001, high: 0.1, log: true}}}
  dementia: {task: classification, target: dementia, cohorts: [oasis1], network: *network}
"""
DICTIONARY = {"age": {"Units": "mo"}, "sex": {"Levels": {"1": "male", "2": "female"}}, "mmse": {"Description": "x"}}
SPARSE = {"GNU.sparse.map": "0,5", "GNU.sparse.size": "5", "mtime": "1.5"}
BIDS_FILES = ("participants.tsv", "participants.json", "sub-03/sub-03_sessions.tsv", "sub-03/sub-03_sessions.json")
BIDS_FILES += ("sub-01/anat/sub-01_T1w.json",)


class Seed(NamedTuple):
    """``content`` is changed before ``pack`` puts it into its file, or after; the file is called ``name``.

    ``read`` gets the file's path, in a folder of its own with the files ``beside``.
    """

    name: str
    content: bytes
    read: Callable[[Path], object]
    pack: Callable[[bytes], bytes] | None = None
    beside: dict[str, bytes] | None = None


def head() -> bytes:
    """A .nii that is as small as a head may be."""
    return nib.Nifti1Image(
        np.arange(13**3, dtype=np.int16).reshape(13, 13, 13) % 199, np.diag([7.0, 7, 7, 1])
    ).to_bytes()


def zipped(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=1, mtime=0)


def text(columns: tuple, rows: list, delimiter: str) -> bytes:
    lines = io.StringIO()
    csv.writer(lines, delimiter=delimiter, lineterminator="\n").writerows([columns, *rows])
    return lines.getvalue().encode()


def xls(columns: tuple, rows: list) -> bytes:
    book, content = xlwt.Workbook(), io.BytesIO()
    sheet = book.add_sheet("Table")
    for line, row in enumerate((columns, *rows)):
        for place, value in enumerate(row):
            sheet.write(line, place, value)
    book.save(content)
    return content.getvalue()


def xlsx(columns: tuple, rows: list) -> bytes:
    book, content = openpyxl.Workbook(), io.BytesIO()
    for row in (columns, *rows):
        book.active.append(row)
    book.save(content)
    return content.getvalue()


def part_of(workbook: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(workbook)) as parts:
        return parts.read(name)


def with_part(workbook: bytes, name: str) -> Callable[[bytes], bytes]:
    """The workbook with another content of one of its parts."""

    def pack(content: bytes) -> bytes:
        made = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(workbook)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
            for part in old.namelist():
                new.writestr(part, content if part == name else old.read(part))
        return made.getvalue()

    return pack


def tar(members: dict[str, bytes], form: int = tarfile.USTAR_FORMAT, headers: dict[str, str] | None = None) -> bytes:
    """A tar archive; ``headers``: pax headers of each member."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=form) as archive:
        for name, member in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(member)
            info.pax_headers = headers or {}
            archive.addfile(info, io.BytesIO(member))
    return content.getvalue()


def ixi_members() -> dict[str, bytes]:
    sites = ("Guys", "HH", "IOP")
    return {f"IXI{n:03d}-{site}-{n:04d}-T1.nii.gz": zipped(good(n, shape=(6, 5, 4))) for n, site in enumerate(sites, 1)}


def oasis1_members() -> dict[str, bytes]:
    members = {}
    for session in ("OAS1_0001_MR1", "OAS1_0002_MR1"):
        for kind, stem in (
            ("t1w", "_mpr_n4_anon_sbj_111"),
            ("reference", KINDS["reference"].name),
            ("dseg", KINDS["dseg"].name),
        ):
            voxels = np.arange(4 * 5 * 6).reshape(4, 5, 6).astype(np.int16) % (4 if kind == "dseg" else 90)
            for suffix, content in zip(("hdr", "img"), analyze_pair(voxels, (1.0, 1.0, 1.0)), strict=True):
                members[f"disc1/{session}/{KINDS[kind].folder}/{session}{stem}.{suffix}"] = content
    return members


def ingest(ingest_cohort: Callable, table: str) -> Callable[[Path], object]:
    return lambda path: ingest_cohort([path], path.parent / table, path.parent / "data")


def read_image(path: Path) -> None:
    """Take the image of a user's table into a cohort, and read it there; then the file itself, as it lies."""
    table, folder = path.parent / "table.csv", path.parent / "data"
    table.write_text(f"participant_id,path\n01,{path.name}\n")
    ingest_table(table, folder)
    for scan in read_table(folder / "scans.tsv")["path"]:
        read_scan(folder / scan)
    read_scan(path)


def plan_scans(path: Path) -> object:
    return values_of_plan(plan_table(path))


def plan_folder(name: str) -> Callable[[Path], object]:
    """Plan the BIDS folder in which the file that is changed is called ``name``."""
    return lambda path: values_of_plan(plan_bids(path.parents[name.count("/")]))


def split_of(path: Path) -> object:
    scans = pd.DataFrame({"participant_id": [f"sub-{row[0]}" for row in SCANS_ROWS]})
    return read_split_file(path, scans, folds=2)


def bids_seed(name: str) -> Seed:
    """A BIDS folder of which the file ``name`` is changed."""
    files = {f"sub-{n}/anat/sub-{n}_T1w.nii": b"" for n in ("01", "02")}
    files |= {f"sub-03/ses-{n}/anat/sub-03_ses-{n}_T1w.nii": b"" for n in (1, 2)}
    files["participants.tsv"] = (
        b"participant_id\tage\tsex\tmmse\nsub-01\t640\t1\t29\nsub-02\t700\t2\tn/a\nsub-03\t650\t1\t3\n"
    )
    files["participants.json"] = json.dumps(DICTIONARY).encode()
    files["sub-03/sub-03_sessions.tsv"] = (
        b"session_id\tacq_time\tdelay_days\nses-1\t2020-01-01\t0\nses-2\t2021-02-03\t400\n"
    )
    files["sub-03/sub-03_sessions.json"] = b'{"delay_days": {"Units": "d"}}'
    files["sub-01/anat/sub-01_T1w.json"] = b'{"PatientAge": "061Y", "RepetitionTime": 2.3, "x": [1, {"y": null}]}'
    content = files.pop(name)
    return Seed(name, content, plan_folder(name), beside=files)


def seeds() -> dict[str, Seed]:
    """By name, all that is fuzzed."""
    nifti2 = nib.Nifti2Image(
        np.arange(13**3, dtype=np.float32).reshape(13, 13, 13) % 99, np.diag([7.0, 7, 7, 1])
    ).to_bytes()
    analyze, voxels = analyze_pair(np.arange(13**3, dtype=np.int16).reshape(13, 13, 13) % 99, (7.0, 7.0, 7.0))
    scans = text(SCANS_COLUMNS, SCANS_ROWS, ",")
    image = {"scan.nii": good(shape=(4, 4, 4))}
    book, old_book = xlsx(SCANS_COLUMNS, SCANS_ROWS), xls(SCANS_COLUMNS, SCANS_ROWS)
    sheet = "xl/worksheets/sheet1.xml"
    ixi_table, oasis1_table = text(IXI_COLUMNS, IXI_ROWS, ","), text(OASIS1_COLUMNS, OASIS1_ROWS, ",")
    ixi, oasis1 = ingest(ingest_ixi, "IXI.csv"), ingest(ingest_oasis1, "oasis.csv")
    beside_ixi, beside_oasis1 = {"IXI.csv": ixi_table}, {"oasis.csv": oasis1_table}
    return {
        "nii": Seed("scan.nii", head(), read_image),
        "nii.gz": Seed("scan.nii.gz", head(), read_image, zipped),
        "nii.gz packed": Seed("scan.nii.gz", zipped(head()), read_image),
        "nifti-2": Seed("scan.nii", nifti2, read_image),
        "analyze": Seed("scan.hdr", analyze, read_image, beside={"scan.img": voxels}),
        "table of ours": Seed("scans.tsv", text(SCANS_COLUMNS, SCANS_ROWS, "\t"), read_table),
        "json of ours": Seed("summary.json", json.dumps(DICTIONARY, indent=1).encode(), read_json),
        "csv": Seed("scans.csv", scans, plan_scans, beside=image),
        "tsv": Seed("scans.tsv", text(SCANS_COLUMNS, SCANS_ROWS, "\t"), plan_scans, beside=image),
        "xlsx": Seed("scans.xlsx", book, plan_scans, beside=image),
        "xlsx sheet": Seed("scans.xlsx", part_of(book, sheet), plan_scans, with_part(book, sheet), image),
        "xls": Seed("scans.xls", old_book, plan_scans, beside=image),
        "split csv": Seed("split.csv", scans, split_of),
        "split xlsx": Seed("split.xlsx", part_of(book, sheet), split_of, with_part(book, sheet)),
        "whole csv": Seed("a.csv", scans, lambda path: why_table_is_cut(path, "csv")),
        "whole xls": Seed("a.xls", old_book, lambda path: why_table_is_cut(path, "xls")),
        "whole xlsx": Seed("a.xlsx", book, lambda path: why_table_is_cut(path, "xlsx")),
        "ixi xls": Seed("IXI.xls", xls(IXI_COLUMNS, IXI_ROWS), read_demographics),
        "ixi csv": Seed("IXI.csv", ixi_table, read_demographics),
        "oasis1 csv": Seed("oasis.csv", oasis1_table, read_oasis1_table),
        "oasis1 xlsx": Seed(
            "o.xlsx",
            part_of(xlsx(OASIS1_COLUMNS, OASIS1_ROWS), sheet),
            read_oasis1_table,
            with_part(xlsx(OASIS1_COLUMNS, OASIS1_ROWS), sheet),
        ),
        "ixi tar": Seed("IXI-T1.tar", tar(ixi_members()), ixi, beside=beside_ixi),
        "ixi pax tar": Seed(
            "IXI-T1.tar",
            tar({f"{'long' * 30}/{n}": c for n, c in ixi_members().items()}, tarfile.PAX_FORMAT),
            ixi,
            beside=beside_ixi,
        ),
        "ixi sparse tar": Seed("IXI-T1.tar", tar(ixi_members(), tarfile.PAX_FORMAT, SPARSE), ixi, beside=beside_ixi),
        "oasis1 tar": Seed("disc1.tar.gz", tar(oasis1_members()), oasis1, zipped, beside_oasis1),
        "oasis1 tar packed": Seed(
            "disc1.tar.gz", zipped(tar(oasis1_members(), tarfile.GNU_FORMAT)), oasis1, None, beside_oasis1
        ),
        "yaml": Seed("study.yaml", STUDY.encode(), lambda path: read_checked([path])),
    } | {f"bids {name}": bids_seed(name) for name in BIDS_FILES}
