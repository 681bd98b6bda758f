"""A cohort of heads painted from real anatomies, with their exact tissues, in a form that the workflow takes as it is.

    python tests/studies/painted_cohort.py --output resources/painted --variants 6 --seed 1
    snakemake --cores 2 --configfile tests/studies/painted_segmentation.yaml

Each anatomy (a label map, see ``tests/heads.py``) is a participant, and each head painted from it a session: contrast near
T1, bias field, noise and pose differ, and the split, which is by participant, is one of anatomies. Of fourteen, eight are
trained on, two validate and four are held out. FOLDER becomes a BIDS folder with the images and, beside them, the label maps
on their grid: 1 CSF, 2 GM, 3 WM, 0 elsewhere, each voxel's the tissue that has most of it. There too are ``split.tsv``, the
cohort's ``split_file``, and ``heads.tsv``, what was drawn and the true volumes.

With ``--structures`` the label maps have structures instead of tissues, with FreeSurfer's values: cortex, thalami, lateral
ventricles, hippocampi and brain stem. ``--contrast t2`` and ``inverted`` paint the same heads with other contrasts; with
``--held-out-only``, which leaves out the other anatomies, they are external cohorts that no network has seen.

The images are skull-stripped by the truth, so that all that is labelled can be seen: the label maps' CSF reaches further out
than the masks of brain extraction, and of twelve whole heads deepbet's left out 4 to 25 % of it. ``--whole-heads`` keeps skull
and scalp; take ``skull_stripped`` out of the study's file then.
"""

import argparse
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # a head a core

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "workflow")]

import heads  # noqa: E402
import nibabel as nib  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from neurocohort.files import write_json, write_table, write_text  # noqa: E402

LABEL_MAPS = REPOSITORY.parent / "shared" / "data" / "label_maps"
HELD_OUT_SHARE, VALIDATION_SHARE = 4 / 14, 2 / 14
FIELDS_OF_VIEW = ("whole", "neck")
MAX_ROTATION_DEG, MAX_SHIFT_MM = 15.0, 15.0
NOISE = (0.01, 0.03)  # of white matter's mean
TISSUES = {heads.CSF: "CSF", heads.GM: "GM", heads.WM: "WM"}
STRUCTURES = {
    3: "cortex_left",
    42: "cortex_right",
    4: "ventricle_left",
    43: "ventricle_right",
    10: "thalamus_left",
    49: "thalamus_right",
    17: "hippocampus_left",
    53: "hippocampus_right",
    16: "brain_stem",
}
BRIGHTNESS = [0.22, 0.68, 1.0]  # of CSF, grey and white matter in T1-weighted heads
# What these have in other contrasts; what is between has values between. Outside the brain all contrasts are alike.
CONTRASTS = {"t1": BRIGHTNESS, "t2": [1.6, 0.9, 0.6], "inverted": [1.0, 0.54, 0.22]}
DESCRIPTION = {
    "Name": "Heads painted from label maps",
    "BIDSVersion": "1.10.0",
    "DatasetType": "derivative",
    "GeneratedBy": [{"Name": "painted_cohort.py", "Description": "Intensities drawn for each label of real anatomies"}],
}


def parts_of(participants: list[str], seed: int) -> pd.DataFrame:
    """A part for each participant, drawn from ``seed``: participant_id and part, in the order given.

    Raises ValueError where there are fewer than three, for each part needs one.
    """
    held_out, validation = (max(1, round(share * len(participants))) for share in (HELD_OUT_SHARE, VALIDATION_SHARE))
    train = len(participants) - held_out - validation
    if train < 1:
        raise ValueError(f"{len(participants)} anatomies can't be split into three parts")
    order = np.random.default_rng(seed).permutation(participants)
    parts = dict(zip(order, ["held-out"] * held_out + ["validation"] * validation + ["train"] * train, strict=True))
    return pd.DataFrame({"participant_id": participants, "part": [parts[name] for name in participants]})


def means_of(contrast: str) -> dict[tuple[int, ...], tuple[float, float]]:
    """Mean intensities and their spread, by labels, of a contrast."""
    values = CONTRASTS[contrast]
    return {
        labels: (float(np.interp(mean, BRIGHTNESS, values)) if labels[0] < heads.FIRST_OUTSIDE_BRAIN else mean, spread)
        for labels, (mean, spread) in heads.T1_MEANS.items()
    }


def number_of(label_map: Path) -> str:
    """The number of an anatomy, two digits."""
    return label_map.name.removeprefix("head_labels_").removesuffix(".nii.gz")


def paint(label_map: Path, participant: str, variant: int, args: argparse.Namespace) -> dict:
    """Paint one head, write the image and its labels, and return its row for ``heads.tsv``."""
    folder, seed, spacing_mm = args.output, args.seed, args.spacing_mm
    rng = np.random.default_rng((seed, int(number_of(label_map)), variant))
    head = heads.paint_head(
        label_map,
        seed=int(rng.integers(2**32)),
        spacing_mm=(spacing_mm,) * 3,
        max_rotation_deg=MAX_ROTATION_DEG,
        max_shift_mm=MAX_SHIFT_MM,
        field_of_view=FIELDS_OF_VIEW[rng.integers(len(FIELDS_OF_VIEW))],
        noise=float(rng.uniform(*NOISE)),
        means=means_of(args.contrast),
    )
    session = f"ses-{variant}"
    anat = folder / participant / session / "anat"
    anat.mkdir(parents=True)
    image = head.volume.data if args.whole_heads else np.where(head.truth["brain"], head.volume.data, 0)
    labels = head.truth["tissues"]
    if args.structures:
        labels = np.where(np.isin(head.truth["structures"], [*STRUCTURES]), head.truth["structures"], 0)
    for suffix, data in (("T1w", image), ("dseg", labels)):
        path = anat / f"{participant}_{session}_{suffix}.nii.gz"
        nib.save(nib.Nifti1Image(data, head.volume.affine), path)
    row = {"participant_id": participant, "session_id": session, "label_map": label_map.name}
    drawn = {name: value for name, value in head.truth["drawn"].items() if name != "spacing_mm"}
    volumes = {f"{name}_ml": round(value, 3) for name, value in head.truth["volumes_ml"].items()}
    return row | {"spacing_mm": spacing_mm, **drawn, **volumes}


def main() -> None:
    """Paint the cohort."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="a folder that isn't there yet")
    parser.add_argument("--variants", type=int, default=6, help="heads an anatomy")
    parser.add_argument("--seed", type=int, default=1, help="of the heads and of the split")
    parser.add_argument("--spacing-mm", type=float, default=1.0, help="edge of a voxel")
    parser.add_argument("--whole-heads", action="store_true", help="leave skull and scalp in the images")
    parser.add_argument("--structures", action="store_true", help="label structures instead of tissues")
    parser.add_argument("--contrast", choices=[*CONTRASTS], default="t1", help="of the images, all of them called T1w")
    parser.add_argument("--held-out-only", action="store_true", help="paint the anatomies of the held-out part alone")
    parser.add_argument("--jobs", type=int, default=2, help="heads painted at once")
    parser.add_argument("--label-maps", type=Path, default=LABEL_MAPS, help=f"their folder (default: {LABEL_MAPS})")
    args = parser.parse_args()
    label_maps = sorted(args.label_maps.glob("head_labels_*.nii.gz"))
    if len(label_maps) < 3:
        sys.exit(
            f"error: {args.label_maps} holds {len(label_maps)} files head_labels_*.nii.gz; expected at least 3, one for each "
            "part. Give their folder with --label-maps."
        )
    if args.output.exists():
        sys.exit(f"error: {args.output} is there already; remove it, or give another folder.")
    # Cohorts of different contrasts are used together, and a participant has one part.
    contrast = "" if args.contrast == "t1" else args.contrast
    participants = [f"sub-{contrast}{number_of(path)}" for path in label_maps]
    split = parts_of(participants, args.seed)
    if args.held_out_only:
        split = split[split["part"] == "held-out"]
    sources = pd.DataFrame({"participant_id": participants, "label_map": [path.name for path in label_maps]})
    sources = sources[sources["participant_id"].isin(split["participant_id"])]
    jobs = [
        (args.label_maps / label_map, participant, variant, args)
        for participant, label_map in sources.itertuples(index=False)
        for variant in range(1, args.variants + 1)
    ]
    rows = []
    with ProcessPoolExecutor(args.jobs, multiprocessing.get_context("spawn")) as pool:
        for row in pool.map(paint, *zip(*jobs, strict=True)):
            rows.append(row)
            print(f"{len(rows)} of {len(jobs)}: {row['participant_id']} {row['session_id']}", flush=True)
    write_table(args.output / "split.tsv", split)
    write_table(args.output / "heads.tsv", pd.DataFrame(rows))
    write_table(args.output / "participants.tsv", sources)
    names = STRUCTURES if args.structures else TISSUES
    write_table(args.output / "dseg.tsv", pd.DataFrame({"index": names.keys(), "name": names.values()}))
    write_json(args.output / "dataset_description.json", DESCRIPTION)
    write_text(args.output / ".bidsignore", "/heads.tsv\n/split.tsv\n")
    parts_text = "; ".join(f"{part}: {', '.join(rows)}" for part, rows in split.groupby("part")["participant_id"])
    print(f"{len(jobs)} heads of {len(split)} anatomies in {args.output}. {parts_text}.")


if __name__ == "__main__":
    main()
