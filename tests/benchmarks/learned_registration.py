"""The deformable registrations alone, after our affine: a head of known truth, and seven real heads, six with MUSE regions.

    python tests/benchmarks/learned_registration.py --ants-python ants/bin/python --network network.safetensors

Brain mask, bias field and affine are the same for all methods. Dated rows go to results/learned_registration.tsv:

- ``cpu_seconds``: processor time of the registration alone, on one thread, imports left out; the mean over the scans.
- ``tre_mm``, ``tre_max_mm``, ``gm_dice``, ``wm_dice``: of the head of known truth, see known_scans.agreement.
- ``inverse_mm``: mean distance of a point of the brain from where it ends after the way there and back; ``real_inverse_mm``: its
  mean over the real heads.
- ``folded_share``, ``jacobian_min``, ``jacobian_max``: in the template's brain; the largest share, the extremes over the scans.
- ``region_dice``: Dice of the MUSE regions of two scans in the template's space, the mean over regions and pairs.
"""

import argparse
import itertools
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from known_scans import KnownScan, agreement, mni_brain, read_transforms
from methods import Bench
from neurocohort.imaging.bias_field import correct_bias
from neurocohort.imaging.brain_extraction import extract_brain
from neurocohort.imaging.deformable import (
    Deformation,
    deformation_of,
    register_deformable,
    sample_deformed,
    write_itk_displacement,
)
from neurocohort.imaging.learned import register_learned
from neurocohort.imaging.own_axes import along_own_axes, deformation_to
from neurocohort.imaging.preprocess import MIN_DICE, _register
from neurocohort.imaging.reading import read_labels, read_scan, write_image
from neurocohort.imaging.registration import write_itk_affine
from neurocohort.imaging.template import Template, read_template
from neurocohort.imaging.volume import Volume, cropped, grid_of
from neurocohort.settings.scan import LearnedRegistration
from preprocessing import ONE_THREAD, REAL, make_scan, make_templates
from rows import append_rows

RESULTS = Path(__file__).resolve().parent / "results" / "learned_registration.tsv"
SYN = "SyNQuick"
HEADS = list(REAL)


@dataclass(frozen=True)
class Prepared:
    """A scan after the affine. ``brain``: image and mask along its own axes; ``to_world``: from them to the scan's world."""

    known: KnownScan
    brain: tuple[Volume, np.ndarray]
    affine: np.ndarray
    to_world: np.ndarray


def prepared(known: KnownScan, template: Template) -> Prepared:
    """Brain mask, bias field and affine, as the workflow has them."""
    scan, to_world = along_own_axes(read_scan(known.path))
    brain = correct_bias(scan, extract_brain(scan))
    found = _register(template.fit, template.fit_mask, brain.image, brain.mask, 1, MIN_DICE)
    return Prepared(known, (brain.image, brain.mask), found.fixed_to_moving, to_world)


def methods(template: Template, network: Path | None) -> dict[str, Callable[[Prepared], Deformation]]:
    """By name, what registers a prepared scan."""
    fixed = template.fit, template.fit_mask
    crop, inside = cropped(*fixed, 10)

    def affine(scan: Prepared) -> Deformation:
        nothing = np.zeros((*crop.data.shape, 3), dtype=np.float32)
        masks = Volume(inside, crop.affine), Volume(scan.brain[1], scan.brain[0].affine)
        return deformation_of(nothing, nothing, *masks, scan.affine)

    def learned(steps: int, refinement: int) -> Callable[[Prepared], Deformation]:
        keys = LearnedRegistration(steps=steps, refinement_steps=refinement)
        return lambda scan: register_learned(fixed, scan.brain, scan.affine, keys, network)

    found = {"affine": affine, "flow": learned(0, 0), "flow, refined": learned(0, 10)}
    if network:
        found |= {"learned": learned(1, 0), "learned, refined": learned(1, 10)}
    return found | {"greedy": lambda scan: register_deformable(*fixed, *scan.brain, scan.affine, seed=1)}


def by_ants(template: Template, bench: Bench) -> Callable[[Prepared], tuple[Deformation, float]]:
    """SyNQuick in a process of its own; what it returns also says how many seconds of processor time it took there."""
    crop, inside = cropped(template.fit, template.fit_mask, 10)

    def register(scan: Prepared) -> tuple[Deformation, float]:
        image, mask = scan.brain
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            files = {
                "fixed": folder / "fixed.nii.gz",
                "moving": folder / "moving.nii.gz",
                "affine": folder / "affine.txt",
            }
            write_image(files["fixed"], crop.data * inside, crop.affine)
            write_image(files["moving"], image.data * mask, image.affine)
            write_itk_affine(files["affine"], scan.affine)
            given = [part for key, path in files.items() for part in (f"--{key}", path)]
            script = Path(__file__).with_name("syn_quick.py")
            environment = os.environ | dict.fromkeys(ONE_THREAD, "1")
            subprocess.run([bench.ants_python, script, *given, "--folder", folder], check=True, env=environment)
            fields = [_displacement(folder / f"{direction}.nii.gz") for direction in ("forward", "inverse")]
            seconds = float((folder / "seconds.txt").read_text())
        started = time.process_time()
        masks = Volume(inside, crop.affine), Volume(mask, image.affine)
        found = deformation_of(*fields, *masks, scan.affine)
        return found, seconds + time.process_time() - started

    return register


def _displacement(path: Path) -> np.ndarray:
    """ITK's displacement (LPS mm) as one along the world's axes, (X, Y, Z, 3), mm."""
    return np.asarray(nib.load(path).dataobj)[:, :, :, 0] * np.array([-1, -1, 1], dtype=np.float32)


def known_row(scan: Prepared, found: Deformation) -> dict:
    """The measures where the truth is known."""
    row = {"inverse_mm": round(there_and_back(found, scan.known.template_points), 4)}
    placed = deformation_to(found, scan.to_world).template_to_scan
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "displacement.nii.gz", Path(folder) / "affine.txt"]
        write_itk_displacement(files[0], placed)
        write_itk_affine(files[1], placed.after)
        return row | agreement(scan.known, read_transforms(files), None, mni_brain()[1])


def there_and_back(found: Deformation, points: np.ndarray) -> float:
    """The mean distance (mm) of the template's ``points`` from where they end after the way there and back."""
    return float(np.linalg.norm(found.scan_to_template(found.template_to_scan(points)) - points, axis=1).mean())


def muse_map(known: KnownScan) -> Path | None:
    """Where the scan's MUSE regions lie; None if it has none."""
    path = known.path.with_name(known.path.name.replace("_2mm.nii.gz", "_2mm_DLMUSE.nii.gz"))
    return path if path != known.path and path.exists() else None


def regions(scan: Prepared, found: Deformation, template: Template) -> np.ndarray:
    """The scan's MUSE regions on the template's grid of 2 mm."""
    labels = read_labels(muse_map(scan.known))
    own = replace(labels, affine=np.linalg.inv(scan.to_world) @ labels.affine)
    return sample_deformed(own, grid_of(template.fit), found.template_to_scan, order=0).data.astype(int)


def region_dice(one: np.ndarray, other: np.ndarray) -> float:
    """The mean Dice of the regions of the first."""
    size = max(one.max(), other.max()) + 1
    counts = [np.bincount(labels.ravel(), minlength=size)[1:] for labels in (one, other, one[one == other])]
    there = counts[0] > 0
    return float((2 * counts[2] / np.maximum(counts[0] + counts[1], 1))[there].mean())


def main() -> None:
    """Measure, print and append the rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ants-python", type=Path, required=True, help="see preprocessing.py")
    parser.add_argument("--network", type=Path, help="that of `neurocohort registration-network`")
    parser.add_argument("--training-steps", type=int, help="of that network, for the rows")
    parser.add_argument("--methods", nargs="+", help="some of the methods (default: all)")
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=HEADS)
    parser.add_argument("--no-record", action="store_true", help="leave the dated results alone")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), args.ants_python)
        make_templates(bench)
        template = read_template(bench.template(1.0))
        scans = [prepared(make_scan(name, bench, None, 1), template) for name in ("synth", *args.heads)]
        for name, register in (methods(template, args.network) | {SYN: by_ants(template, bench)}).items():
            if args.methods and name not in args.methods:
                continue
            if name != SYN:
                register(scans[0])  # imports
            row, seconds, found, maps = {"method": name}, [], [], []
            for scan in scans:
                started = time.process_time()
                result = register(scan)
                deformation, took = result if name == SYN else (result, time.process_time() - started)
                found.append(deformation)
                seconds.append(took)
                if muse_map(scan.known):
                    maps.append(regions(scan, found[-1], template))
            row |= {"training_steps": args.training_steps if name.startswith("learned") else None}
            row |= {"cpu_seconds": round(float(np.mean(seconds)), 2)} | known_row(scans[0], found[0])
            row["region_dice"] = round(
                float(np.mean([region_dice(*two) for two in itertools.combinations(maps, 2)])), 4
            )
            points = scans[0].known.template_points
            row["real_inverse_mm"] = round(float(np.mean([there_and_back(one, points) for one in found[1:]])), 4)
            row["folded_share"] = round(max(one.folded_fraction for one in found), 6)
            row["jacobian_min"] = round(min(one.jacobian_range[0] for one in found), 3)
            row["jacobian_max"] = round(max(one.jacobian_range[1] for one in found), 3)
            rows.append(row)
            print(*(f"{key}={value}" for key, value in row.items() if value is not None), flush=True)
    if not args.no_record:
        append_rows(RESULTS, rows)


if __name__ == "__main__":
    main()
