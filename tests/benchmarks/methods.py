"""The methods that preprocessing.py measures: how each is called on a scan, and what it leaves.

A method runs in a process of its own. Run as a script, this module is one of them: our preprocessing.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from known_scans import KnownScan
from painted_heads import preprocess_head, study_template

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Bench:
    """What the methods need: the templates by kind (npz by spacing, NIfTI of head and brain) , ANTsPy's Python, and the network
    of `registration: learned`."""

    folder: Path
    ants_python: Path | None
    network: Path | None = None

    def template(self, spacing_mm: float) -> Path:
        return study_template(self.folder, spacing_mm)

    @property
    def head_template(self) -> Path:
        return self.folder / "mni_head.nii.gz"

    @property
    def brain_template(self) -> Path:
        return self.folder / "mni_brain.nii.gz"


@dataclass(frozen=True)
class Method:
    """``command``: (bench, scan, folder, spacing in mm) to an argument list; ``outcome``: (folder) to what it left.

    An outcome: ``transforms`` (files in ANTs' order; none where the scan was excluded), ``mask`` (file or None) and
    ``computing_seconds`` (None where it isn't told).
    """

    command: Callable[[Bench, KnownScan, Path, float], list]
    outcome: Callable[[Path], dict]
    needs_ants: bool = False
    any_spacing: bool = False  # its grid follows the study's; the others' is 1 mm


def ours(registration: str, *, network: bool = False, refinement: int = 0) -> Method:
    """Our preprocessing of a scan, in a process of its own that times the computation without the imports."""

    def command(bench: Bench, scan: KnownScan, folder: Path, spacing_mm: float) -> list:
        if network and bench.network is None:
            sys.exit("error: give the network of `neurocohort registration-network` with --network.")
        keys = {"registration": registration, "learned": {"steps": int(network), "refinement_steps": refinement}}
        place = bench.network if network else ""
        return [sys.executable, __file__, scan.path, bench.template(spacing_mm), folder, json.dumps(keys), place]

    return Method(command, _our_outcome, any_spacing=True)


def by_ants(transform: str, *, brain: bool = False) -> Method:
    """t1_linear.py with affine (``a``) or deformable (``s``) registration, on the head or on the true brain."""

    def command(bench: Bench, scan: KnownScan, folder: Path, spacing_mm: float) -> list:
        template = bench.brain_template if brain else bench.head_template
        path = _stripped(scan, folder) if brain else scan.path
        script = [bench.ants_python, HERE / "t1_linear.py", "--transform", transform]
        return [*script, "--scan", path, "--template", template, "--folder", folder]

    return Method(command, _ants_outcome, needs_ants=True)


def _stripped(scan: KnownScan, folder: Path) -> Path:
    if scan.brain is None:
        sys.exit(f"error: the true brain of {scan.name} isn't known; leave the methods named -brain out.")
    image = nib.load(scan.path)
    path = folder / "brain.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) * scan.brain.data, image.affine), path)
    return path


def _our_outcome(folder: Path) -> dict:
    record = json.loads((folder / "scan_qc.json").read_text())
    files = {name: folder / entry["file"] for name, entry in record["outputs"].items()}
    seconds_file = folder / "seconds.json"
    return {
        "status": record["status"],
        "transforms": [files[name] for name in ("displacement", "xfm") if name in files],
        "mask": files.get("brain_mask"),
        "computing_seconds": json.loads(seconds_file.read_text()) if seconds_file.exists() else None,
    }


def _ants_outcome(folder: Path) -> dict:
    result = json.loads((folder / "result.json").read_text())
    files = [folder / name for name in result["transforms"]]
    return {"status": "ok", "transforms": files, "mask": None, "computing_seconds": result["seconds"]}


METHODS = {
    "ours": ours("affine"),
    "ours-deformable": ours("deformable"),
    "ours-flow": ours("learned"),
    "ours-flow-refined": ours("learned", refinement=10),
    "ours-learned": ours("learned", network=True),
    "ours-learned-refined": ours("learned", network=True, refinement=10),
    "t1-linear": by_ants("a"),
    "t1-linear-brain": by_ants("a", brain=True),
    "n4-syn": by_ants("s"),
    "n4-syn-brain": by_ants("s", brain=True),
}


def main(scan: str, template: str, folder: str, keys: str, network: str) -> None:
    """Preprocess one scan for `ours`, timed after the imports."""
    import deepbet.bet  # noqa: F401

    started = time.perf_counter()
    given = json.loads(keys) | {"registration_network": Path(network) if network else None}
    preprocess_head(Path(scan), "scan", Path(template), Path(folder), given)
    (Path(folder) / "seconds.json").write_text(json.dumps(time.perf_counter() - started))


if __name__ == "__main__":
    main(*sys.argv[1:6])
