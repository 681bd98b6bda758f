"""How often the checks on a scan's contrast, pose and field of view are wrong: alarms on good scans, faults that pass.

    python tests/benchmarks/quality_alarms.py --painted 40 --jobs 2 --output alarms.tsv [--stripped FOLDER --step 3]

Good scans: the real ones in ../shared/data, painted heads whose brain is whole, and with --stripped the skull-stripped scans in
MNI space of a folder (one in --step). Faults: the same heads with one thing made wrong. Every scan goes through the
whole preprocessing and the default limits. Prints two tables: checks, scans, alarms; and faults, tried, caught, by which check.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ[_name] = "1"  # a job a core, as the workflow has it

import nibabel as nib  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from known_scans import REPOSITORY, SHARED_DATA, heads, label_maps  # noqa: E402
from neurocohort.dataset.quality_limits import QualityLimits, beyond_limits  # noqa: E402
from neurocohort.files import write_table  # noqa: E402
from neurocohort.imaging.preprocess import Exclusion, ScanImages, Settings, preprocess_scan  # noqa: E402
from neurocohort.imaging.template import make_template, read_template  # noqa: E402
from neurocohort.study.configuration import read_checked  # noqa: E402

# Intensities of CSF, grey and white matter and of fat, as fractions of T1's white matter, in other contrasts.
T1_AXIS = (0.0, 0.3, 0.65, 1.0, 2.0)
CONTRASTS = {
    "T2": (0.0, 1.6, 0.9, 0.6, 0.5),
    "FLAIR": (0.05, 0.2, 1.0, 0.72, 0.9),
    "PD": (0.0, 1.0, 0.9, 0.72, 0.7),
}
WHOLE = 0.995  # of the brain in view
NOTICEABLE = 0.02  # of the brain out of view: what the limits are meant to find


@dataclass(frozen=True)
class Case:
    """A scan to try. ``fault``: empty for a good one. ``make``: what it is made from, by ``image_of``."""

    group: str
    fault: str
    make: tuple
    mni_space: bool = False
    stripped: bool = False


def cases(painted: int, stripped: list[Path], faulty_heads: int) -> Iterator[Case]:
    """All cases, the shortest group first."""
    real = sorted((SHARED_DATA / "ixi_hh_2mm").glob("*T1_2mm.nii.gz"))
    for path in [*real, *SHARED_DATA.glob("IXI533*.nii.gz")]:
        yield Case("real heads", "", ("file", path))
        if "ixi_hh" in str(path):
            yield Case("real heads, stripped", "", ("real", path, "stripped"), stripped=True)
    for path in stripped:
        yield Case("stripped, MNI space", "", ("file", path), mni_space=True, stripped=True)
    for path in real[:faulty_heads]:
        for fault in REAL_FAULTS:
            is_stripped = fault.startswith("stripped")
            yield Case("faults of real heads", fault, ("real", path, fault), stripped=is_stripped)
    maps = label_maps()
    for number in range(painted):
        yield Case("painted heads", "", ("painted", maps[number % len(maps)], 1000 + number, "T1"))
        if number < faulty_heads * 2:
            for contrast in CONTRASTS:
                make = ("painted", maps[number % len(maps)], 1000 + number, contrast)
                yield Case("faults of painted heads", f"{contrast} contrast", make)


def _turned(axis: int, degrees: float) -> np.ndarray:
    angles = [0.0, 0.0, 0.0]
    angles[2 - axis] = np.deg2rad(degrees)
    return nib.eulerangles.euler2mat(*angles)


def _scaled(*factors: float) -> np.ndarray:
    return np.diag(factors)


def _contrast(data, brain, contrast: str) -> np.ndarray:
    white = np.percentile(data[brain], 90)
    return np.where(data > 0, np.interp(data / white, T1_AXIS, CONTRASTS[contrast]) * white, 0)


def _inverted(data, brain) -> np.ndarray:
    bright = np.percentile(data[brain], 99)
    return np.where(brain, bright - np.minimum(data, bright), data)


def _cut(data, brain, direction, fraction: float) -> np.ndarray:
    height = np.tensordot(np.array(direction, dtype=float), np.indices(data.shape), axes=1)
    return np.where(height > np.quantile(height[brain], 1 - fraction), 0, data)


def _gap(data, brain, slices: int) -> np.ndarray:
    middle = int(np.argwhere(brain)[:, 2].mean())
    data = data.copy()
    data[:, :, middle : middle + slices] = 0
    return data


FRONT, TOP, FACE = (0, 1, 0), (0, 0, 1), (0, 0.8, -0.6)
DATA_FAULTS = {  # of RAS data with the brain's mask
    **{f"{name} contrast": (lambda data, brain, name=name: _contrast(data, brain, name)) for name in CONTRASTS},
    "brain inverted": _inverted,
    **{
        f"{plane} plane of 0, {percent} %": (
            lambda data, brain, way=way, percent=percent: _cut(data, brain, way, percent / 100)
        )
        for plane, way in (("frontal", FRONT), ("top", TOP), ("oblique", FACE))
        for percent in (2, 6)
    },
    **{f"{n} empty slice(s)": (lambda data, brain, n=n: _gap(data, brain, n)) for n in (1, 4)},
    "stripped": lambda data, brain: data * brain,
    "stripped, frontal plane of 0, 4 %": lambda data, brain: _cut(data * brain, brain, FRONT, 0.04),
    "stripped, top plane of 0, 4 %": lambda data, brain: _cut(data * brain, brain, TOP, 0.04),
    "stripped, 4 empty slices": lambda data, brain: _gap(data * brain, brain, 4),
}
HEADER_FAULTS = {
    "header turned by 90 degrees (x)": _turned(0, 90),
    "header turned by 90 degrees (z)": _turned(2, 90),
    "header upside down": _turned(0, 180),
    "header back to front": _turned(2, 180),
    "axis y mirrored": _scaled(1, -1, 1),
    "spacing x 1.5 along x": _scaled(1.5, 1, 1),
    "spacing x 1.5 along z": _scaled(1, 1, 1.5),
    "spacing x 0.7 along z": _scaled(1, 1, 0.7),
}
CROPS = {
    f"field of view ends at {name}, {percent} %": (axis, percent)
    for name, axis, percent in (("front", 1, 4), ("top", 2, 6))
}
REAL_FAULTS = [*(name for name in DATA_FAULTS if name != "stripped"), *HEADER_FAULTS, *CROPS]


def real_head(path: Path, fault: str) -> nib.Nifti1Image:
    """A real head with its reference brain mask, made wrong."""
    image = nib.as_closest_canonical(nib.load(path))
    data = np.asarray(image.dataobj).astype(np.float32)
    regions = nib.as_closest_canonical(nib.load(str(path).replace(".nii.gz", "_DLMUSE.nii.gz")))
    brain, affine = np.asarray(regions.dataobj) > 0, image.affine.copy()
    if fault in DATA_FAULTS:
        data = DATA_FAULTS[fault](data, brain)
    elif fault in HEADER_FAULTS:
        affine[:3] = HEADER_FAULTS[fault] @ affine[:3]
    elif fault in CROPS:
        axis, percent = CROPS[fault]
        end = int(np.quantile(np.argwhere(brain)[:, axis], 1 - percent / 100)) + 1
        data = data.take(np.arange(end), axis=axis)
    return nib.Nifti1Image(data.astype(np.float32), affine)


def painted_head(label_path: Path, seed: int, contrast: str) -> heads.Head:
    """A painted head of one contrast; equal seeds give equal poses."""
    means = heads.T1_MEANS
    if contrast != "T1":
        means = {
            k: (float(np.interp(mean, T1_AXIS, CONTRASTS[contrast])), spread) for k, (mean, spread) in means.items()
        }
    return heads.paint_head(label_path, seed=seed, means=means)


_worker = {}


def _start_worker(template: Path, limits: QualityLimits) -> None:
    _worker.update(template=read_template(template), limits=limits)


def run(case: Case) -> dict:
    """Preprocess one case: what excluded it, its notes, and its numbers, as a flat row."""
    row = {"group": case.group, "fault": case.fault, "scan": Path(case.make[1]).name.split("_T1")[0], "seed": 0}
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "scan.nii.gz"
        if case.make[0] == "file":
            path = case.make[1]
        elif case.make[0] == "real":
            nib.save(real_head(*case.make[1:]), path)
        else:
            head = painted_head(*case.make[1:])
            heads.write_head(path, head)
            row |= {"seed": case.make[2], "share_in_view": head.truth["share_in_view"]}
            missing = 1 - head.truth["share_in_view"]
            if not case.fault and missing > 1 - WHOLE:
                row |= {"group": "faults of painted heads", "fault": f"cut by the border, {_class_of(missing)}"}
        settings = Settings(intensity="percentile", seed=1, mni_space=case.mni_space, skull_stripped=case.stripped)
        result = preprocess_scan(ScanImages(path), _worker["template"], settings)
    beyond = beyond_limits(result.metrics, _worker["limits"], mni_space=case.mni_space)
    excluded = result.exclusion or Exclusion("", "")
    stage, reason = beyond or (excluded.stage or None, excluded.reason or None)
    return row | {"stage": stage, "reason": reason, "notes": " ".join(result.notes)} | result.metrics


def _class_of(missing: float) -> str:
    return f"{NOTICEABLE:.0%} of the brain or more" if missing >= NOTICEABLE else "less"


def check_of(row: pd.Series) -> str:
    """The check that excluded a scan, in a few words; empty where none did."""
    if not isinstance(row["reason"], str):
        return ""
    words = {"T1-weighted": "contrast", "is cut": "cut area", "are missing": "missing brain", "turned by": "turn"}
    words |= {"stretched": "stretch", "Dice": "template Dice", "nats": "mutual information", " mL": "volume"}
    return next((name for word, name in words.items() if word in row["reason"]), row["stage"])


def report(table: pd.DataFrame) -> Iterator[str]:
    """The two tables, as lines."""
    table["check"] = table.apply(check_of, axis=1)
    good = table[table["fault"] == ""]
    yield "good scans\tscans\texcluded\tby\twith a note"
    for group, rows in good.groupby("group"):
        noted = int(((rows["check"] == "") & (rows["notes"] != "")).sum())
        yield f"{group}\t{len(rows)}\t{int((rows['check'] != '').sum())}\t{_by(rows)}\t{noted}"
    yield "fault\ttried\tcaught\tby\twith a note"
    for fault, rows in table[table["fault"] != ""].groupby("fault"):
        noted = int(((rows["check"] == "") & (rows["notes"] != "")).sum())
        yield f"{fault}\t{len(rows)}\t{int((rows['check'] != '').sum())}\t{_by(rows)}\t{noted}"


def _by(rows: pd.DataFrame) -> str:
    counts = rows.loc[rows["check"] != "", "check"].value_counts()
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "-"


def main() -> int:
    """Run all cases and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--painted", type=int, default=40, help="painted heads")
    parser.add_argument("--faulty-heads", type=int, default=2, help="real heads that each fault is tried on (up to 6)")
    parser.add_argument("--stripped", type=Path, help="folder of skull-stripped scans in MNI space (*.nii, *.nii.gz)")
    parser.add_argument("--step", type=int, default=1, help="take one in STEP of them")
    parser.add_argument("--only", default="", help="the groups of scans whose name contains this")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, required=True, help="a row a scan (TSV)")
    args = parser.parse_args()
    stripped = sorted(args.stripped.glob("*.nii*"))[:: args.step] if args.stripped else []
    chosen = [case for case in cases(args.painted, stripped, args.faulty_heads) if args.only in case.group]
    limits = QualityLimits(**read_checked([REPOSITORY / "config" / "config.yaml"])["quality"])
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder) / "template.npz"
        make_template(template, 3.0, (56, 64, 56))
        with ProcessPoolExecutor(args.jobs, initializer=_start_worker, initargs=(template, limits)) as pool:
            jobs = [pool.submit(run, case) for case in chosen]
            for count, job in enumerate(as_completed(jobs), start=1):
                rows.append(job.result())
                print(f"\r{count} of {len(jobs)}", end="", file=sys.stderr, flush=True)
                write_table(args.output, pd.DataFrame(rows))
    print(*report(pd.DataFrame(rows)), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
