"""Compare the predicted label maps on each scan's own grid with the cohort's label maps, which are on the same grid.

    python tests/studies/native_dice.py --study lung --cohort resources/organs/lung

``--study`` is the name of the experiment and of its cohort in the studies lung.yaml and knee.yaml. Prints the mean Dice of each
structure over the held-out scans, for each orientation in which scans are stored, and fails if a map has another shape or affine
than its scan.
"""

import argparse
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "workflow")]

import nibabel as nib  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

AFFINE_TOLERANCE_MM = 1e-3


def dice_of_scan(predicted: Path, truth: Path, names: dict[int, str]) -> dict[str, object]:
    """The orientation of a scan, and the Dice of each structure by name; missing where neither map has it.

    Raises ValueError if the two maps have different grids.
    """
    found, reference = nib.load(predicted), nib.load(truth)
    if found.shape != reference.shape or not np.allclose(found.affine, reference.affine, atol=AFFINE_TOLERANCE_MM):
        raise ValueError(f"{predicted} has not the grid of {truth}")
    own, expected = np.asarray(found.dataobj), np.asarray(reference.dataobj)
    row: dict[str, object] = {"orientation": "".join(nib.aff2axcodes(found.affine))}
    for label, name in names.items():
        sizes = np.count_nonzero(own == label) + np.count_nonzero(expected == label)
        both = np.count_nonzero((own == label) & (expected == label))
        row[name] = 2 * both / sizes if sizes else np.nan
    return row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--study", required=True)
    parser.add_argument("--cohort", type=Path, required=True, help="the folder that painted_organs.py wrote")
    parser.add_argument("--results", type=Path, default=Path("results"))
    args = parser.parse_args()
    folder = args.results / "experiments" / args.study
    predictions = pd.read_csv(folder / "predictions.tsv", sep="\t").query("part == 'held-out'")
    labels = pd.read_csv(args.cohort / "dseg.tsv", sep="\t").set_index("index")["name"].to_dict()
    rows = []
    for scan_id in predictions["scan_id"].unique():
        participant = scan_id.split("_")[0]
        (predicted,) = (folder / "label_maps").rglob(f"{scan_id}_space-orig_dseg.nii.gz")
        truth = args.cohort / participant / "anat" / f"{participant}_dseg.nii.gz"
        rows.append({"scan_id": scan_id, **dice_of_scan(predicted, truth, labels)})
    table = pd.DataFrame(rows)
    grouped = table.drop(columns="scan_id").groupby("orientation")
    shown = grouped.mean().assign(scans=grouped.size())
    shown.loc["all"] = [*table[[*labels.values()]].mean(), len(table)]
    print(shown.round(3).to_string())


if __name__ == "__main__":
    main()
