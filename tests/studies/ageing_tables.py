"""The tables of a longitudinal analysis from the true volumes of `ageing_cohort.py`, without any image processing.

    python tests/studies/ageing_tables.py --cohort resources/ageing --output FOLDER

Each volume gets an error of NOISE of itself, as a segmentation would make. FOLDER has ``data/ageing/scans.tsv``,
``results/ageing/qc.tsv`` and ``split.tsv``, from which the analysis of the settings below is run; its results are in
``results/longitudinal/conversion/``.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "workflow")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from neurocohort.dataset.split import split_participants  # noqa: E402
from neurocohort.files import read_table, write_table  # noqa: E402
from neurocohort.settings.longitudinal import Longitudinal  # noqa: E402

NOISE = 0.01  # standard deviation of the error of a tissue's volume, as a fraction of it
TISSUES = ("csf", "gm", "wm")
ANALYSIS = Longitudinal(task="classification", target="converted", cohorts=["ageing"], outcome_time="age_at_conversion")


def main() -> None:
    """Write the tables and run the analysis."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohort", type=Path, required=True, help="the folder that ageing_cohort.py made")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="a folder that isn't there yet")
    parser.add_argument("--seed", type=int, default=1, help="of the split and of the errors")
    args = parser.parse_args()
    if args.output.exists():
        sys.exit(f"error: {args.output} is there already; remove it, or give another folder.")
    key = ["participant_id", "session_id"]
    scans = read_table(args.cohort / "sessions.tsv").merge(read_table(args.cohort / "participants.tsv"))
    names = scans["participant_id"] + "_" + scans["session_id"]
    scans = scans.assign(scan_id=names, site="synthetic", voxels_sha256=names)
    volumes = scans[[*key, "scan_id"]].merge(read_table(args.cohort / "truth.tsv"), on=key)
    errors = np.random.default_rng(args.seed).normal(0, NOISE, (len(volumes), len(TISSUES)))
    found = volumes[[f"{tissue}_ml" for tissue in TISSUES]].to_numpy() * (1 + errors)
    qc = pd.DataFrame(found, columns=[f"volume_{tissue}_ml" for tissue in TISSUES])
    qc = qc.assign(scan_id=volumes["scan_id"], volume_brain_ml=found.sum(axis=1), status="ok")
    split = split_participants(scans, validation=0.2, held_out=0.4, seed=args.seed, class_column="converted")
    results = args.output / "results"
    out = results / "longitudinal" / "conversion"
    for path, table in (
        (args.output / "data" / "ageing" / "scans.tsv", scans),
        (results / "ageing" / "qc.tsv", qc),
        (results / "ageing" / "split.tsv", split),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(path, table)
    out.mkdir(parents=True)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow")}
    common = ["--results", str(results), "--folder", str(out), "--settings", ANALYSIS.as_json()]
    for command in (
        ["longitudinal", "--data", str(args.output / "data"), *common],
        ["longitudinal-metrics", "--study", "ageing", "--intervals", "{}", *common],
    ):
        subprocess.run([sys.executable, "-m", "neurocohort", *command], check=True, env=environment)


if __name__ == "__main__":
    main()
