"""A synthetic cohort with several sessions: brains that age, and a group whose brains age faster before conversion.

    python tests/studies/ageing_cohort.py --output resources/ageing --participants 40 --seed 1
    snakemake --cores 1 --configfile tests/studies/longitudinal.yaml

At the first session the two groups have the same distribution of ages and anatomies. Between sessions the brain of a participant
who converts later ages by RATE years in each year, and that of the others by one, so that the course tells them apart much better
than any single session. FOLDER becomes a BIDS folder. ``participants.tsv`` has ``converted`` (0 or 1) and ``age_at_conversion``,
which is after the last session; ``sessions.tsv`` the age at each session, and ``truth.tsv`` the age of the brain and the true
volumes.
"""

import argparse
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "workflow")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from neurocohort.files import write_json, write_table, written_aside  # noqa: E402
from neurocohort.synthetic.anatomy import prepare_anatomy  # noqa: E402
from neurocohort.synthetic.files import nifti_gz  # noqa: E402
from neurocohort.synthetic.heads import OASIS, Grid, draw_head, draw_person  # noqa: E402

AGES = (60.0, 78.0)  # at the first session
VISITS_YEARS, JITTER_YEARS = (0.0, 1.5, 3.0), 0.25
CONVERSION_YEARS = 4.0  # after the first session
EVERY_NTH_CONVERTS = 2
RATE = 4.0  # years by which the brain ages in a year before conversion
FIELD_OF_VIEW_MM = (192.0, 240.0, 192.0)
DESCRIPTION = {"Name": "Synthetic ageing brains", "BIDSVersion": "1.10.0", "DatasetType": "raw"}


def grid_of(spacing_mm: float) -> Grid:
    """Cubic voxels along the axes; the middle of the field of view is the origin."""
    shape = tuple(round(extent / spacing_mm) for extent in FIELD_OF_VIEW_MM)
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = -spacing_mm * (np.array(shape) - 1) / 2
    return Grid(shape, affine)


def visits_of(number: int, seed: int) -> tuple[dict, list[tuple[str, float, float]]]:
    """The row of a participant, and session, age and age of the brain of each visit."""
    rng = np.random.default_rng([seed, 3, number])
    converts = number % EVERY_NTH_CONVERTS == 0
    first = float(rng.uniform(*AGES))
    person = {
        "participant_id": f"sub-{number:03d}",
        "sex": "FM"[int(rng.integers(2))],
        "converted": int(converts),
        "age_at_conversion": round(first + CONVERSION_YEARS, 2) if converts else np.nan,
    }
    visits = []
    for place, planned in enumerate(VISITS_YEARS, start=1):
        years = planned + (rng.uniform(-JITTER_YEARS, JITTER_YEARS) if planned else 0.0)
        visits.append((f"ses-{place}", round(first + years, 2), first + years * (RATE if converts else 1.0)))
    return person, visits


def main() -> None:
    """Paint the cohort."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="a folder that isn't there yet")
    parser.add_argument("--participants", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--spacing-mm", type=float, default=3.0, help="edge of a voxel")
    args = parser.parse_args()
    if args.output.exists():
        sys.exit(f"error: {args.output} is there already; remove it, or give another folder.")
    anatomy, grid = prepare_anatomy(), grid_of(args.spacing_mm)
    people, sessions, truth = [], [], []
    for number in range(1, args.participants + 1):
        person, visits = visits_of(number, args.seed)
        people.append(person)
        name = person["participant_id"]
        for place, (session, age, brain_age) in enumerate(visits, start=1):
            anatomical = np.random.default_rng([args.seed, 4, number])  # the same person in each session
            drawn = draw_person(anatomy, age=brain_age, sex=person["sex"], cdr=0.0, rng=anatomical)
            rng = np.random.default_rng([args.seed, 5, number, place])
            head = draw_head(anatomy, drawn, OASIS, grid, rng=rng)
            with written_aside(args.output / name / session / "anat" / f"{name}_{session}_T1w.nii.gz") as aside:
                aside.write_bytes(nifti_gz(head.scan(rng), grid.affine))
            row = {"participant_id": name, "session_id": session}
            sessions.append({**row, "age": age})
            volumes = {f"{tissue}_ml": round(volume, 2) for tissue, volume in head.volumes_ml.items()}
            truth.append({**row, "brain_age": round(brain_age, 2), **volumes})
    write_table(args.output / "participants.tsv", pd.DataFrame(people))
    write_table(args.output / "sessions.tsv", pd.DataFrame(sessions))
    write_table(args.output / "truth.tsv", pd.DataFrame(truth))
    write_json(args.output / "dataset_description.json", DESCRIPTION)
    print(f"{len(sessions)} sessions of {len(people)} participants in {args.output}.")


if __name__ == "__main__":
    main()
