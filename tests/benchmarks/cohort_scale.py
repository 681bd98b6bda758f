"""Time and memory of what a cohort costs before its images are looked at: ingest's tables, the split, the samples.

    python tests/benchmarks/cohort_scale.py [--participants 600 10000]

Each step runs in a process of its own on images of 4 x 5 x 6 voxels. Prints a table with the time a participant at the largest
size over that at the smallest, and adds dated rows to tests/benchmarks/results/cohort_scale.tsv. Nothing is asserted.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rows import append_rows  # the standard library alone: a child's peak memory counts what its parent had

RESULTS = Path(__file__).resolve().parent / "results" / "cohort_scale.tsv"
SHAPE = (4, 5, 6)
NEW_PARTICIPANTS = 100
MOST_OF_IXI = 999  # its numbers have three digits
SPLIT = {"validation": 0.1, "held_out": 0.2, "seed": 1}
FOLDS = 5


def image(number: int) -> bytes:
    """A .nii.gz whose voxels no other number has."""
    import nibabel as nib
    import numpy as np
    from neurocohort.sources.raw_bids import gzipped

    voxels = np.random.default_rng(number).integers(0, 1000, SHAPE, dtype=np.int16)
    return gzipped(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])))


def person(number: int) -> tuple[float, str, str]:
    """Age, sex and site of participant ``number``."""
    import numpy as np

    rng = np.random.default_rng([7, number])
    return (
        round(float(rng.uniform(20, 86)), 2),
        "MF"[rng.integers(2)],
        ("Guys", "HH", "IOP")[rng.choice(3, p=[0.5, 0.3, 0.2])],
    )


def prepare_ixi(folder: Path, participants: int) -> None:
    """IXI's archive and spreadsheet, with real names and columns."""
    import xlwt
    from neurocohort.synthetic.archives import IXI_COLUMNS
    from neurocohort.synthetic.files import write_tar

    sheet = (book := xlwt.Workbook()).add_sheet("Table")
    for column, name in enumerate(IXI_COLUMNS):
        sheet.write(0, column, name)
    members = {}
    for number in range(1, participants + 1):
        age, sex, site = person(number)
        values = (number, 1 + (sex == "F"), 170, 70, 1, 2, 1, 5, "1960-01-01", 1, "2006-01-01", age)
        for column, value in enumerate(values):
            sheet.write(number, column, value)
        members[f"IXI{number:03d}-{site}-{number:04d}-T1.nii.gz"] = image(number)
    book.save(str(folder / "IXI.xls"))
    write_tar(folder / "IXI-T1.tar", members)


def prepare_table(folder: Path, participants: int) -> None:
    """A user's table of scans, and the images that it names."""
    lines = ["participant_id\tsession_id\tpath\tage\tsex\tsite\tdiagnosis\tscore"]
    (folder / "images").mkdir()
    for number in range(participants):
        age, sex, site = person(number)
        name = f"images/scan{number:05d}.nii.gz"
        (folder / name).write_bytes(image(number))
        lines.append(f"P{number:05d}\t1\t{name}\t{age}\t{sex}\t{site}\t{('CN', 'AD', '')[number % 3]}\t{number % 31}")
    (folder / "scans.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


# Each step prepares what it needs and returns what is timed; imports and preparation aren't.


def imports(folder: Path) -> Callable:
    """Nothing: the memory of Python with what the steps import."""
    import neurocohort.dataset.samples
    import neurocohort.sources.ixi
    import neurocohort.sources.table  # noqa: F401

    return lambda: None


def ingest_ixi(folder: Path) -> Callable:
    """IXI's archive and spreadsheet into raw BIDS."""
    from neurocohort.sources.ixi import ingest_ixi

    return lambda: ingest_ixi([folder / "IXI-T1.tar"], folder / "IXI.xls", folder / "data" / "ixi")


def ingest_table(folder: Path) -> Callable:
    """A user's table into raw BIDS."""
    from neurocohort.sources.table import ingest_table

    return lambda: ingest_table(folder / "scans.tsv", folder / "data" / "table")


def write_tables(folder: Path) -> Callable:
    """The tables of a cohort whose images are there, and the search for images that no longer belong to it."""
    from neurocohort.files import read_json, read_table
    from neurocohort.sources.columns import Image, Scan
    from neurocohort.sources.raw_bids import Ingested, write_tables

    cohort = folder / "data" / "table"
    rows = read_table(cohort / "scans.tsv").astype(object)
    rows = rows.where(rows.notna(), None).to_dict("records")
    variables = {name: entry for name, entry in read_json(cohort / "participants.json").items() if name in rows[0]}
    scans = {}
    for row in rows:
        image = Image(row["path"], row["image_sha256"], row["voxels_sha256"])
        values = {name: row[name] for name in variables}
        scans[row["scan_id"]] = Scan(row["participant_id"], row["session_id"], row["scan_id"], image, {}, values)
    collected = Ingested(cohort, scans, images={row["path"]: row["image_sha256"] for row in rows})
    return lambda: write_tables(collected, variables, {"Name": "table"}, ("age", "sex"))


def fingerprint(folder: Path) -> Callable:
    """What every start of Snakemake does to see whether a user's files have changed."""
    from neurocohort.sources.fingerprints import fingerprint_table

    return lambda: fingerprint_table(folder / "scans.tsv")


def _scans(folder: Path, added: int = 0):
    """The cohort's scans.tsv, with ``added`` participants more."""
    import pandas as pd
    from neurocohort.files import read_table

    scans = read_table(folder / "data" / "table" / "scans.tsv")
    new = scans.head(added).copy()
    for column in ("participant_id", "scan_id", "voxels_sha256"):
        new[column] = new[column].str.replace("P", "N") + ("new" if column == "voxels_sha256" else "")
    return pd.concat([scans, new], ignore_index=True)


def _split(folder: Path, scans) -> None:
    """As the subcommand does it: around the record, which then grows, and into split.tsv."""
    from neurocohort.dataset.frozen_split import freeze, frozen_path, load_frozen
    from neurocohort.dataset.split import split_participants
    from neurocohort.files import write_table

    record = frozen_path(folder / "splits", "table", **SPLIT)
    split = split_participants(scans, **SPLIT, folds=FOLDS, frozen=load_frozen(record, FOLDS), class_column="diagnosis")
    freeze(record, split, FOLDS)
    write_table(folder / "split.tsv", split)


def split_first(folder: Path) -> Callable:
    """The first split, with five folds, and its record."""
    import neurocohort.dataset.frozen_split  # noqa: F401

    scans = _scans(folder)
    return lambda: _split(folder, scans)


def split_grown(folder: Path) -> Callable:
    """The split around its record, with 100 participants more."""
    import neurocohort.dataset.frozen_split  # noqa: F401

    scans = _scans(folder, NEW_PARTICIPANTS)
    return lambda: _split(folder, scans)


def split_file(folder: Path) -> Callable:
    """A split file of the user's, checked."""
    from neurocohort.dataset.split_file import read_split_file

    scans = _scans(folder, NEW_PARTICIPANTS)
    return lambda: read_split_file(folder / "split.tsv", scans, FOLDS)


def samples(folder: Path) -> Callable:
    """The samples of a classification with a filter, and the guard against leakage."""
    import pandas as pd
    from neurocohort.dataset.samples import select_samples
    from neurocohort.files import read_table

    scans = _scans(folder, NEW_PARTICIPANTS)
    index = pd.DataFrame({"row": range(len(scans)), "scan_id": scans["scan_id"], "has_labels": 0})
    tables = {"table": {"scans": scans, "split": read_table(folder / "split.tsv"), "index": index}}
    options = {"task": "classification", "target": "diagnosis", "query": "age > 18", "classes": ["CN", "AD"]}
    return lambda: select_samples(tables, [], **options)


def guard(folder: Path) -> Callable:
    """The guard against leakage alone, as training, prediction and evaluation run it."""
    from neurocohort.dataset.leakage import check_no_leakage
    from neurocohort.files import read_table

    scans = _scans(folder, NEW_PARTICIPANTS).assign(cohort="table")
    table = scans.merge(read_table(folder / "split.tsv")[["participant_id", "part"]], on="participant_id")
    return lambda: check_no_leakage(table)


STEPS = {  # in the order in which they run: a step finds what those before it left
    "imports alone": imports,
    "ingest, IXI": ingest_ixi,
    "ingest, table": ingest_table,
    "ingest, table, again": ingest_table,
    "tables of the cohort alone": write_tables,
    "fingerprint of the table": fingerprint,
    "split, first": split_first,
    f"split, frozen, {NEW_PARTICIPANTS} new": split_grown,
    "split file": split_file,
    "samples": samples,
    "leakage guard": guard,
}


def in_child(action: str, folder: Path, participants: int) -> dict:
    """Run one step, or the preparation, in a process of its own; its seconds and the peak of its resident memory in MiB."""
    command = [sys.executable, __file__, "--child", action, str(folder), str(participants)]
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def child(action: str, folder: Path, participants: int) -> dict:
    """What the child does."""
    if action == "prepare":
        prepare_table(folder, participants)
        if participants <= MOST_OF_IXI:
            prepare_ixi(folder, participants)
        return {}
    step = STEPS[action](folder)
    started, started_cpu = time.perf_counter(), time.process_time()
    step()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": round(seconds, 4),
        "cpu_seconds": round(cpu_seconds, 4),
        "peak_mib": round(peak_kib / 1024, 1),
    }


def measure(participants: int) -> list[dict]:
    """A row a step."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="cohort_scale_") as folder:
        in_child("prepare", Path(folder), participants)
        for step in STEPS:
            if step != "ingest, IXI" or participants <= MOST_OF_IXI:
                row = in_child(step, Path(folder), participants)
                rows.append({"step": step, "participants": participants, **row})
    return rows


def show(rows: list[dict], sizes: list[int]) -> None:
    """A line a step: seconds, processor seconds and MiB at each size, and how both times a participant grow between them."""
    print(
        f"{'step':28}" + "".join(f"{size:>9} s{'cpu s':>9}{'MiB':>7}" for size in sizes) + "   a participant: time, cpu"
    )
    for step in STEPS:
        found = {row["participants"]: row for row in rows if row["step"] == step}
        line = f"{step:28}"
        for size in sizes:
            row = found.get(size)
            line += f"{row['seconds']:11.3f}{row['cpu_seconds']:9.3f}{row['peak_mib']:7.0f}" if row else " " * 27
        first, last = found.get(sizes[0]), found.get(sizes[-1])
        if step != "imports alone" and first and last and first is not last:
            growth = [last[kind] / first[kind] * sizes[0] / sizes[-1] for kind in ("seconds", "cpu_seconds")]
            line += f"   x {growth[0]:.2f}  x {growth[1]:.2f}"
        print(line)


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        action, folder, participants = sys.argv[2:]
        print(json.dumps(child(action, Path(folder), int(participants))))
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--participants", type=int, nargs="+", default=[600, 10000])
    sizes = sorted(parser.parse_args().participants)
    rows = [row for size in sizes for row in measure(size)]
    show(rows, sizes)
    append_rows(RESULTS, rows)


if __name__ == "__main__":
    main()
