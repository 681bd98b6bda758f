"""The top-level files that make the folder of a cohort's preprocessed scans a BIDS derivative dataset.

They are written once per cohort, after all scans, because jobs that run at the same time would overwrite each other's files.
"""

import os
from pathlib import Path

from neurocohort import __version__
from neurocohort.files import read_json, read_table, write_json, write_table, write_text
from neurocohort.imaging.derivatives import IGNORED, NATIVE_SPACE, RAW_DATASET, TEMPLATE_SPACE
from neurocohort.imaging.label_names import label_table
from neurocohort.sources.local_labels import DERIVATIVES
from neurocohort.structures import TISSUES
from neurocohort.version import BIDS_VERSION, code_address

DESCRIPTION = "dataset_description.json"

README = """# {name}

Scans preprocessed by neurocohort, as a BIDS derivative dataset. A scan's files are in `sub-*/ses-*/anat/`:

- `*_space-<template>_desc-preproc_*.nii.gz`: the brain on the study's grid, bias field removed, intensities 0 to 1
- `*_desc-brain_mask.nii.gz`: the brain mask on the raw scan's grid
- `*_label-*_probseg.nii.gz`: the probability of CSF, GM and WM on the raw scan's grid
{labels}{tissue_maps}{modulated}- `*_xfm.txt`, `*_xfm.nii.gz`: the transforms both ways, for ITK (ANTs, 3D Slicer)
- `*_mosaic.webp`: slices with the outlines of the brain mask and the template
- `*_qc.json`: the scan's state, its quality numbers, and its files with their sha256

A scan whose record says `excluded` failed a check: `exclusions.tsv`, next to this folder, has the reasons.
"""

TISSUE_MAPS_LINE = "- `*_space-<template>_label-*_probseg.nii.gz`: the same probabilities on the study's grid\n"
MODULATED_LINE = (
    "- `*_space-<template>_label-GM_desc-modulated_probseg.nii.gz`: that of GM, "
    "times the Jacobian determinant of the transform\n"
)
NATIVE_README = """# {name}

Scans preprocessed by neurocohort in their own space, as a BIDS derivative dataset. A scan's files are in `sub-*/ses-*/anat/`:

- `*_space-<template>_desc-preproc_*.nii.gz`: the image on the study's grid, around its foreground, intensities 0 to 1
- `*_desc-foreground_mask.nii.gz`: the foreground on the raw scan's grid
{labels}- `*_xfm.txt`: the transforms both ways, for ITK (ANTs, 3D Slicer); they move and turn, and change no size
- `*_mosaic.webp`: slices with the outline of the foreground, and slices on the study's grid
- `*_qc.json`: the scan's state, its quality numbers, and its files with their sha256

A scan whose record says `excluded` failed a check: `exclusions.tsv`, next to this folder, has the reasons.
"""
LABELS_LINE = (
    "- `*_space-<template>_dseg.nii.gz`: the cohort's own tissue labels on the study's grid; `dseg.tsv` names them\n"
)


def write_dataset_files(
    preproc: Path,
    raw: Path,
    *,
    has_labels: bool,
    has_tissue_maps: bool = False,
    has_modulated_gm: bool = False,
    native: bool = False,
) -> None:
    """Write ``.bidsignore``, ``README.md``, ``dseg.tsv`` and, last, ``dataset_description.json``.

    Args:
        preproc: The folder of the preprocessed scans.
        raw: The cohort's raw BIDS dataset.
        has_labels: Whether any scan has tissue labels; ``dseg.tsv`` has their names.
        has_tissue_maps: Whether the scans have tissue maps on the study's grid.
        has_modulated_gm: Whether they have the modulated map of grey matter too.
        native: Whether the scans are in their own space.

    Raises:
        InputError: If the raw dataset's description is missing or can't be read.
    """
    given = read_json(raw / DESCRIPTION)
    name = f"{given.get('Name', raw.name)}, preprocessed"
    write_text(preproc / ".bidsignore", "".join(f"{pattern}\n" for pattern in IGNORED))
    labels = LABELS_LINE if has_labels else ""
    labels = labels.replace("own tissue labels", "own labels") if native else labels
    tissue_maps = TISSUE_MAPS_LINE if has_tissue_maps else ""
    text = (NATIVE_README if native else README).format(
        name=name, labels=labels, tissue_maps=tissue_maps, modulated=MODULATED_LINE if has_modulated_gm else ""
    )
    write_text(preproc / "README.md", text.replace("<template>", NATIVE_SPACE if native else TEMPLATE_SPACE))
    if has_labels:
        write_table(preproc / "dseg.tsv", label_table(_structures(raw)))
    else:
        (preproc / "dseg.tsv").unlink(missing_ok=True)
    generated = {"Name": "neurocohort", "Version": __version__}
    if address := code_address():
        generated["CodeURL"] = address
    description: dict[str, object] = {"Name": name, "BIDSVersion": BIDS_VERSION, "DatasetType": "derivative"}
    description |= {key: given[key] for key in ("License", "Acknowledgements", "ReferencesAndLinks") if key in given}
    description |= {
        "GeneratedBy": [generated],
        "SourceDatasets": given.get("SourceDatasets") or [{"URL": os.path.relpath(raw, preproc)}],
        "DatasetLinks": {RAW_DATASET: os.path.relpath(raw, preproc)},
    }
    write_json(preproc / DESCRIPTION, description)


def _structures(raw: Path) -> tuple[str, ...]:
    """The names of the structures in the label maps of a raw dataset, label 1 first."""
    table = raw / DERIVATIVES / "dseg.tsv"
    return tuple(read_table(table, required=("index", "name"))["name"]) if table.is_file() else TISSUES
