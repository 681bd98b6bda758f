"""The deformable part of antsRegistrationSyNQuick, by ANTsPy, after an affine that is given; run by learned_registration.py.

It needs the environment that t1_linear.py describes.
"""

import argparse
import shutil
import time
from pathlib import Path

import ants

SEED = 1


def main() -> None:
    """Register MOVING to FIXED; leave the two displacements and the processor time of the registration in FOLDER."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("fixed", "moving", "affine", "folder"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    fixed, moving = ants.image_read(str(args.fixed)), ants.image_read(str(args.moving))
    started = time.process_time()
    found = ants.registration(
        fixed,
        moving,
        type_of_transform="antsRegistrationSyNQuick[so]",
        initial_transform=[str(args.affine)],
        random_seed=SEED,
    )
    seconds = time.process_time() - started
    for kept, paths in (("forward", found["fwdtransforms"]), ("inverse", found["invtransforms"])):
        (path,) = (path for path in paths if path.endswith(".nii.gz"))
        shutil.copy(path, args.folder / f"{kept}.nii.gz")
    (args.folder / "seconds.txt").write_text(str(seconds))


if __name__ == "__main__":
    main()
