"""Paint heads of which everything is known, preprocess each, and say what was right, what was caught, and what was not.

    python tests/benchmarks/painted_heads.py --heads 200 --seed 1 --jobs 2 --output painted.tsv

Writes a row a head to --output, and a dated row of the summary to tests/benchmarks/results/painted_heads.tsv.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ[_name] = "1"  # a job a core, as the workflow has it

import nibabel as nib  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from known_scans import (  # noqa: E402
    LPS,
    REPOSITORY,
    agreement,
    heads,
    known_head,
    label_maps,
    mni_brain,
    read_transforms,
    reference_affine,
)
from neurocohort.files import read_json, write_table  # noqa: E402
from neurocohort.imaging.preprocess import ScanImages, Settings, preprocess_scan  # noqa: E402
from neurocohort.imaging.scan_files import write_scan  # noqa: E402
from neurocohort.imaging.template import make_template, read_template  # noqa: E402
from neurocohort.imaging.volume import Volume  # noqa: E402
from neurocohort.settings.scan import LearnedRegistration  # noqa: E402
from neurocohort.study.configuration import read_checked  # noqa: E402
from rows import append_rows  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results" / "painted_heads.tsv"
LEAST_TEMPLATE_DICE = 0.90  # below it no scan may count as good, whatever the configuration says
FIELD_OF_VIEW_MM = (168, 192, 168)
WRONG_TRE_MM, WRONG_DICE = 10.0, 0.90  # a result beyond either is grossly wrong
TISSUES = ("brain", "csf", "gm", "wm")
COMPARED = (  # absent where no head was good
    *("tre_mm", "mask_dice", "sides", "gm_wm_missed"),
    *(f"{tissue}_{kind}" for tissue in TISSUES for kind in ("ml", "true_ml", "error_percent")),
)
_worker = {}


def study_template(folder: Path, spacing_mm: float) -> Path:
    """The template file for a grid of ``spacing_mm`` that holds the whole template, as ``neurocohort template`` makes it."""
    path = folder / f"template_{spacing_mm:g}mm.npz"
    shape = tuple(int(np.ceil(extent / spacing_mm)) for extent in FIELD_OF_VIEW_MM)
    if not path.exists():
        make_template(path, spacing_mm, shape)
    return path


def preprocess_head(path: Path, scan_id: str, template: Path, folder: Path, given: dict | None = None) -> None:
    """Preprocess the scan at ``path`` into ``folder`` with the settings of config/config.yaml, except those ``given``."""
    keys = read_checked([REPOSITORY / "config" / "config.yaml"])["preprocessing"] | (given or {})
    if isinstance(keys["learned"], dict):
        keys["learned"] = LearnedRegistration(**keys["learned"])
    result = preprocess_scan(ScanImages(path), read_template(template), Settings.taken_from(keys))
    write_scan(result, folder, scan_id)


def run_head(number: int, seed: int, label_path: Path, to_template: np.ndarray) -> dict:
    """Paint head ``number``, preprocess it, and compare the outcome with the truth: a flat row."""
    started = time.perf_counter()
    head = heads.paint_head(label_path, seed=seed)
    truth, drawn = head.truth, head.truth["drawn"]
    row = {"head": number, "seed": seed, "anatomy": label_path.name[12:14]}
    row |= {name: drawn[name] for name in ("field_of_view", "rotation_deg", "shift_mm", "noise", "bias")}
    row |= {"cut": drawn.get("cut"), "cut_into_brain_mm": drawn.get("cut_into_brain_mm"), "dtype": drawn["dtype"]}
    row |= {"orientation": drawn["orientation"], "spacing_mm": " ".join(f"{mm:g}" for mm in drawn["spacing_mm"])}
    row["share_in_view"] = truth["share_in_view"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "head.nii.gz"
        heads.write_head(path, head)
        painted = time.perf_counter()
        preprocess_head(path, "head", _worker["template"], folder)
        record = read_json(folder / "head_qc.json")
        row |= {"painting_s": painted - started, "preprocessing_s": time.perf_counter() - painted}
        row |= {"status": record["status"], "stage": record["stage"], "reason": record["reason"]}
        metrics = ("template_dice", "registration_starts", "mutual_information", "mask_on_border", "symmetry")
        row |= {metric: record["metrics"].get(metric) for metric in metrics}
        files = {key: folder / entry["file"] for key, entry in record["outputs"].items()}
        if record["status"] == "ok":
            row |= _compared(files, record, path, head, label_path, to_template)
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}


def _compared(files: dict, record: dict, path: Path, head, label_path: Path, to_template: np.ndarray) -> dict:
    truth = head.truth
    mask = np.asarray(nib.load(files["brain_mask"]).dataobj) > 0
    known = known_head(path, head, label_path, to_template)
    transform = read_transforms([files["xfm"]])
    row = agreement(known, transform, Volume(mask, head.volume.affine), _worker["tissues"])
    solid = truth["tissues"] > 1
    row["gm_wm_missed"] = float((solid & ~mask).sum() / solid.sum())
    for tissue, expected in truth["volumes_ml"].items():
        found = record["volumes_ml"][tissue]
        row |= {f"{tissue}_ml": found, f"{tissue}_true_ml": expected}
        row[f"{tissue}_error_percent"] = 100 * (found / expected - 1)
    back = transform.GetInverse()
    x = {}
    for label, side in heads.HIPPOCAMPI.items():
        index = np.argwhere(truth["hippocampi"] == label)
        if len(index):
            middle = nib.affines.apply_affine(head.volume.affine, index.mean(axis=0))
            x[side] = back.TransformPoint((middle * LPS).tolist())[0] * LPS[0]
    row |= {f"{side}_hippocampus_x_mm": value for side, value in x.items()}
    row["sides"] = "right" if x.get("left", -1) < 0 < x.get("right", 1) else "WRONG"
    return row


def summary(table: pd.DataFrame) -> tuple[dict, list[str]]:
    """What a run showed: numbers for a row, and lines for a person. Raises nothing; the lines name each head in question."""
    table = table.reindex(columns=list(dict.fromkeys([*table.columns, *COMPARED])))
    good = table[table["status"] == "ok"]
    excluded = table[table["status"] != "ok"]
    by_registration = excluded["stage"] == "registration"
    wrong = (good["tre_mm"] > WRONG_TRE_MM) | (good["mask_dice"] < WRONG_DICE) | (good["sides"] != "right")
    below = good["template_dice"] < LEAST_TEMPLATE_DICE
    first_start_enough = int((good["registration_starts"] == 1).sum())
    counts = {
        "heads": len(table),
        "good": len(good),
        "excluded": len(excluded),
        "excluded_by_registration": int(by_registration.sum()),
        "first_start_enough": first_start_enough,
        "first_start_bad": int(table["registration_starts"].notna().sum()) - first_start_enough,
        "mended_by_further_starts": int((good["registration_starts"] > 1).sum()),
        "unnoticed": int(wrong.sum()),
        "good_below_limit": int(below.sum()),
    }
    for name in ("mask_dice", "template_dice", "tre_mm", "gm_wm_missed", "preprocessing_s", "painting_s"):
        counts |= {f"{name}_median": good[name].median(), f"{name}_worst": _worst(good[name], name)}
    for tissue in TISSUES:
        error = good[f"{tissue}_error_percent"]
        counts |= {f"{tissue}_error_percent_median": error.median(), f"{tissue}_error_percent_sd": error.std()}
        counts[f"{tissue}_correlation"] = good[f"{tissue}_ml"].corr(good[f"{tissue}_true_ml"])
    lines = [
        f"{counts['heads']} heads: {counts['good']} good, {counts['excluded']} excluded.",
        f"Registration: the first start was enough for {counts['first_start_enough']}; it was bad for "
        f"{counts['first_start_bad']}, of which further starts mended {counts['mended_by_further_starts']} and the gate "
        f"excluded {counts['excluded_by_registration']}.",
        f"Brain Dice (scan): median {counts['mask_dice_median']:.4f}, worst {counts['mask_dice_worst']:.4f}. "
        f"Displacement from the reference: median {counts['tre_mm_median']:.2f} mm, worst {counts['tre_mm_worst']:.2f} mm.",
        "Volumes, error in percent (median, SD) and correlation with the truth: "
        + "; ".join(
            f"{t} {counts[f'{t}_error_percent_median']:+.1f}, {counts[f'{t}_error_percent_sd']:.1f}, "
            f"r {counts[f'{t}_correlation']:.3f}"
            for t in TISSUES
        ),
        f"Seconds: painting {counts['painting_s_median']:.1f}, preprocessing {counts['preprocessing_s_median']:.1f} (medians).",
    ]
    lines += [f"excluded: head {r.head} at {r.stage}: {r.reason}" for r in excluded.itertuples()]
    lines += [
        f"UNNOTICED: head {r.head} (anatomy {r.anatomy}, seed {r.seed}, {r.field_of_view}) counts as good with displacement "
        f"{r.tre_mm:.1f} mm, brain Dice {r.mask_dice:.3f}, sides {r.sides}"
        for r in good[wrong].itertuples()
    ]
    lines.append(
        "No scan whose mask overlaps the template's with Dice below 0.90 counts as good."
        if not below.any()
        else f"FAILED: head(s) {', '.join(map(str, good[below]['head']))} count as good below the limit of 0.90."
    )
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in counts.items()}, lines


def _worst(values: pd.Series, name: str) -> float:
    return values.min() if name.endswith("dice") else values.max()


def _start_worker(template: Path) -> None:
    _worker.update(template=template, tissues=mni_brain()[1])


def main() -> int:
    """Run the benchmark; 1 where a grossly wrong result counts as good, or a good one lies below the gate's limit."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--heads", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1, help="head k is painted from the seed 1000 * SEED + k")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--spacing", type=float, default=2.0, help="of the study's grid, in mm")
    parser.add_argument("--only", type=int, nargs="*", help="these heads alone, by number")
    parser.add_argument("--label-maps", type=Path, help="their folder (default: ../shared/data/label_maps)")
    parser.add_argument("--output", type=Path, required=True, help="the table of heads (TSV)")
    parser.add_argument("--no-record", action="store_true", help="leave the dated table of summaries alone")
    args = parser.parse_args()
    maps = label_maps(args.label_maps)
    numbers = args.only or range(args.heads)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        template = study_template(Path(folder), args.spacing)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(args.jobs, context, _start_worker, (template,)) as pool:
            used = sorted({number % len(maps) for number in numbers})
            references = dict(zip(used, pool.map(reference_affine, [maps[k] for k in used]), strict=True))
            print(f"{len(used)} anatomies have their reference registration.", flush=True)
            jobs = [  # by anatomy: each process keeps the two that it read last
                pool.submit(run_head, n, 1000 * args.seed + n, maps[n % len(maps)], references[n % len(maps)])
                for n in sorted(numbers, key=lambda n: (n % len(maps), n))
            ]
            for job in as_completed(jobs):
                rows.append(job.result())
                table = pd.DataFrame(rows).sort_values("head", ignore_index=True)
                write_table(args.output, table)
                shown = ("head", "status", "template_dice", "mask_dice", "tre_mm", "preprocessing_s")
                print(json.dumps({key: rows[-1].get(key) for key in shown}), flush=True)
    counts, lines = summary(table)
    print("\n".join(lines))
    if not args.no_record:
        append_rows(RESULTS, [{"seed": args.seed, "spacing_mm": args.spacing, "jobs": args.jobs, **counts}])
    return int(counts["unnoticed"] > 0 or counts["good_below_limit"] > 0)


if __name__ == "__main__":
    sys.exit(main())
