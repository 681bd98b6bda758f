"""Clinica's t1-linear recipe, and its deformable cousin, by ANTsPy, on one scan; run by preprocessing.py.

Clinica 0.12 (clinica/pipelines/t1_linear/anat_linear_pipeline.py): ANTs' N4BiasFieldCorrection with its default settings
(shrink factor 4, four levels of 50 iterations, no mask) and a B-spline distance of 600 mm; antsRegistrationSyNQuick.sh with
transform ``a`` from the scan to the full head of MNI152 at 1 mm; the warped image cropped to 169 x 208 x 179 voxels.
(Its newer ``--use-antspy`` hands ANTsPy a keyword that this ignores, so that it runs ANTsPy's default SyN: not taken here.)

ANTsPy is no dependency of the project. It needs an environment of its own:

    python3 -m venv ants && ants/bin/pip install --no-deps -r tests/benchmarks/requirements.txt
"""

import argparse
import json
import shutil
import time
from pathlib import Path

import ants

SPLINE_DISTANCE_MM = 600
CROPPED = (169, 208, 179)
SEED = 1


def main() -> None:
    """Correct, register, resample, crop, write; leave times and files in FOLDER/result.json."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scan", type=Path, required=True)
    parser.add_argument("--template", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--transform", choices=("a", "s"), default="a", help="affine, or affine and SyN")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    fixed, scan = ants.image_read(str(args.template)), ants.image_read(str(args.scan))
    corrected = ants.n4_bias_field_correction(scan, spline_param=SPLINE_DISTANCE_MM)
    after_bias = time.perf_counter()
    found = ants.registration(
        fixed, corrected, type_of_transform=f"antsRegistrationSyNQuick[{args.transform}]", random_seed=SEED
    )
    after_registration = time.perf_counter()
    warped = found["warpedmovout"]
    low = [max(0, (size - wanted) // 2) for size, wanted in zip(warped.shape, CROPPED, strict=True)]
    high = [min(size, start + wanted) for size, start, wanted in zip(warped.shape, low, CROPPED, strict=True)]
    ants.image_write(warped, str(args.folder / "warped.nii.gz"))
    ants.image_write(ants.crop_indices(warped, low, high), str(args.folder / "cropped.nii.gz"))
    transforms = []
    for number, path in enumerate(map(Path, found["fwdtransforms"])):
        kept = args.folder / f"{number}_{'warp.nii.gz' if path.name.endswith('.nii.gz') else 'affine.mat'}"
        shutil.copy(path, kept)
        transforms.append(kept.name)
    result = {
        "seconds": time.perf_counter() - started,
        "bias_seconds": after_bias - started,
        "registration_seconds": after_registration - after_bias,
        "transforms": transforms,
    }
    (args.folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
