"""A cohort of heads made of shapes, of which every second one has a lesion at a random place: a label for the whole scan.

    python tests/studies/painted_lesions.py --output resources/lesions --seed 1
    snakemake --cores 1 --configfile tests/studies/weak_labels.yaml
    python tests/studies/attention_truth.py

Voxels of 4 mm: an ellipsoid with smooth variations of intensity, noise, and in half of the participants a brighter ball of 16 to
24 mm that blends into its surroundings. FOLDER becomes a BIDS folder; ``participants.tsv`` has ``lesion`` (0 or 1), which a
network learns, and the label maps beside the images show where the lesion is, which no network of a classification reads.
``split.tsv`` is the cohort's ``split_file``.
"""

import argparse
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "workflow")]

import nibabel as nib  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from neurocohort.files import write_json, write_table, write_text  # noqa: E402
from scipy import ndimage  # noqa: E402

SHAPE, SPACING_MM = (48, 48, 48), 4.0
RADII_MM = (80.0, 88.0, 76.0)  # of the head
HEAD, VARIATION, NOISE, BACKGROUND = 400.0, 25.0, 20.0, 0.0  # intensities
SMOOTH_VOXELS = 2.5  # of the variations
LESION = 110.0  # brighter than what is around it, in its middle; the variations of a head reach some 75
LESION_MM = (8.0, 12.0)  # radius
PARTS = {"held-out": 1 / 3, "validation": 1 / 6}  # the others are trained on
DESCRIPTION = {
    "Name": "Heads made of shapes, with and without a lesion",
    "BIDSVersion": "1.10.0",
    "DatasetType": "derivative",
    "GeneratedBy": [{"Name": "painted_lesions.py", "Description": "Images of mathematical shapes with their labels"}],
}


def paint(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The image (X, Y, Z) float and the label map, 1 in the lesion; even numbers have none."""
    rng = np.random.default_rng((seed, number))
    points = (np.stack(np.meshgrid(*(np.arange(side) for side in SHAPE), indexing="ij")) - 23.5) * SPACING_MM
    radii = np.array(RADII_MM) * rng.uniform(0.92, 1.04)
    depth = np.sqrt(((points / radii[:, None, None, None]) ** 2).sum(axis=0))
    variation = ndimage.gaussian_filter(rng.normal(size=SHAPE), SMOOTH_VOXELS)
    image = HEAD + VARIATION * variation / variation.std()
    labels = np.zeros(SHAPE, dtype=np.uint8)
    if number % 2:
        inside = np.argwhere(depth < 0.8)
        centre = (inside[rng.integers(len(inside))] - 23.5) * SPACING_MM
        radius = rng.uniform(*LESION_MM)
        distance = np.sqrt(((points - centre[:, None, None, None]) ** 2).sum(axis=0))
        image = image + LESION * np.exp(-((distance / radius) ** 4))
        labels[distance < radius] = 1
    image = np.where(depth < 1, image + NOISE * rng.normal(size=SHAPE), BACKGROUND)
    return np.clip(image, 0, 2000), labels


def write_cohort(folder: Path, participants: int, seed: int) -> pd.DataFrame:
    """Write the cohort, and return its table of participants."""
    names = [f"sub-{number + 1:03d}" for number in range(participants)]
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = -23.5 * SPACING_MM
    for number, name in enumerate(names):
        image, labels = paint(number, seed)
        anat = folder / name / "anat"
        anat.mkdir(parents=True)
        for suffix, data in (("T1w", np.rint(image).astype(np.int16)), ("dseg", labels)):
            nib.save(nib.Nifti1Image(data, affine), anat / f"{name}_{suffix}.nii.gz")
    table = pd.DataFrame({"participant_id": names, "lesion": [number % 2 for number in range(participants)]})
    write_table(folder / "participants.tsv", table)
    write_table(folder / "split.tsv", table[["participant_id"]].assign(part=parts_of(participants, seed)))
    write_table(folder / "dseg.tsv", pd.DataFrame({"index": [1], "name": ["lesion"]}))
    write_json(folder / "dataset_description.json", DESCRIPTION)
    write_text(folder / ".bidsignore", "/split.tsv\n")
    return table


def parts_of(participants: int, seed: int) -> list[str]:
    """The part of each participant; each has about as many with a lesion as without."""
    pairs = participants // 2
    counts = {part: max(1, round(share * pairs)) for part, share in PARTS.items()}
    names = [part for part, count in counts.items() for _ in range(count)]
    names += ["train"] * (pairs - len(names))
    order = np.random.default_rng(seed).permutation(pairs)
    parts = [names[place] for place in order]
    return [parts[min(number // 2, pairs - 1)] for number in range(participants)]


def main() -> None:
    """Paint the cohort."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="a folder that isn't there yet")
    parser.add_argument("--participants", type=int, default=96)
    parser.add_argument("--seed", type=int, default=1, help="of the shapes and of the split")
    args = parser.parse_args()
    if args.participants < 12:
        sys.exit(f"error: --participants is {args.participants}; expected at least 12.")
    if args.output.exists():
        sys.exit(f"error: {args.output} is there already; remove it, or give another folder.")
    write_cohort(args.output, args.participants, args.seed)


if __name__ == "__main__":
    main()
