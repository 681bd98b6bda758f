"""File names and folders in ``results/<cohort>/preproc``, a BIDS derivative dataset.

The entities have the order of BIDS: those of the raw scan, ``space``, ``label``, ``desc``. This module imports nothing heavy,
because every Snakemake process reads it.
"""

from collections.abc import Container
from pathlib import Path

TEMPLATE_SPACE = "MNI152NLin2009aSym"
TEMPLATE_URI = "https://www.bic.mni.mcgill.ca/ServicesAtlases/ICBM152NLin2009"
NATIVE_SPACE = "individual"  # BIDS' name for a participant's own space; its origin is the middle of the foreground
SUFFIXES = {"csf": "CSF", "gm": "GM", "wm": "WM"}  # a tissue's label entity
MODULATED_GM = "GM_modulated"  # the channel of the modulated map of grey matter
MODULATED_RANGE = 2.0  # packs hold values of the modulated map from 0 to this, and clip larger ones
TEMPLATE_MAP = "template_probseg"  # with the label, the name of a tissue map on the study's grid in a scan's record
BRAIN_MASK, FOREGROUND_MASK = "brain_mask", "foreground_mask"  # names in a scan's record
RAW_DATASET = "raw"  # the name of data/<cohort> in BIDS URIs; its path is in dataset_description.json
IGNORED = ("*_xfm.txt", "*_xfm.nii.gz", "*_mosaic.webp", "*_qc.json")  # files without a BIDS name
BEGINNINGS = ("space-", "label-", "desc-", "from-", "mosaic.", "qc.")  # of a file's name after the scan_id
MOSAICS = "**/anat/*_mosaic.webp"  # of all scans, below the dataset


def scan_folder(preproc: Path, scan_id: str) -> Path:
    """Return the folder of a scan's files, ``sub-X/ses-Y/anat``, which is the same for all runs of a session.

    Args:
        preproc: The dataset.
        scan_id: ``sub-X[_ses-Y][_run-N]``, the first entities of every file's name.
    """
    return Path(preproc, *_entity_folders(scan_id))


def qc_path(preproc: Path, scan_id: str) -> Path:
    """Return the path of a scan's record (`scan_record`), which is written last."""
    return scan_folder(preproc, scan_id) / qc_name(scan_id)


def files_of(folder: Path, scan_id: str) -> list[Path]:
    """List the files of a scan in its ``folder``, without those of other runs of the session."""
    return [
        file for file in folder.glob(f"{scan_id}_*") if file.name.removeprefix(f"{scan_id}_").startswith(BEGINNINGS)
    ]


def channel_output(channel: str) -> str:
    """Return the name in a scan's record of the file with a channel of the packs: a modality, CSF, GM, WM or GM_modulated."""
    return f"{TEMPLATE_MAP}_{channel}" if channel in (*SUFFIXES.values(), MODULATED_GM) else f"preproc_{channel}"


def qc_name(scan_id: str) -> str:
    """Return the name of a scan's record."""
    return f"{scan_id}_qc.json"


def mosaic_name(scan_id: str) -> str:
    """Return the name of the quality picture."""
    return f"{scan_id}_mosaic.webp"


def preproc_name(scan_id: str, modality: str, space: str = TEMPLATE_SPACE) -> str:
    """Return the name of the preprocessed image of a modality on the study's grid."""
    return f"{scan_id}_space-{space}_desc-preproc_{modality}.nii.gz"


def brain_mask_name(scan_id: str) -> str:
    """Return the name of the brain mask on the raw scan's grid."""
    return f"{scan_id}_desc-brain_mask.nii.gz"


def foreground_mask_name(scan_id: str) -> str:
    """Return the name of the foreground's mask on the raw scan's grid, of a scan that is not registered."""
    return f"{scan_id}_desc-foreground_mask.nii.gz"


def tissue_map_name(scan_id: str, tissue: str) -> str:
    """Return the name of the probability map of a tissue (csf, gm or wm) on the raw scan's grid."""
    return f"{scan_id}_label-{SUFFIXES[tissue]}_probseg.nii.gz"


def template_tissue_map_name(scan_id: str, tissue: str) -> str:
    """Return the name of the probability map of a tissue (csf, gm or wm) on the study's grid."""
    return f"{scan_id}_space-{TEMPLATE_SPACE}_label-{SUFFIXES[tissue]}_probseg.nii.gz"


def modulated_gm_name(scan_id: str) -> str:
    """Return the name of the modulated map of grey matter on the study's grid."""
    return f"{scan_id}_space-{TEMPLATE_SPACE}_label-{SUFFIXES['gm']}_desc-modulated_probseg.nii.gz"


def labels_name(scan_id: str, space: str = TEMPLATE_SPACE) -> str:
    """Return the name of the cohort's own tissue labels on the study's grid."""
    return f"{scan_id}_space-{space}_dseg.nii.gz"


def space_of(outputs: Container[str]) -> str:
    """Return the name of the space of a scan's study grid, from the names of the files in its record."""
    return NATIVE_SPACE if FOREGROUND_MASK in outputs else TEMPLATE_SPACE


def mask_output(outputs: Container[str]) -> str:
    """Return the name of the mask on the raw scan's grid in a scan's record: the brain's, or in native space the foreground's."""
    return FOREGROUND_MASK if FOREGROUND_MASK in outputs else BRAIN_MASK


def affine_name(scan_id: str, source: str, target: str) -> str:
    """Return the name of an affine transform in ITK's text format."""
    return f"{scan_id}_from-{source}_to-{target}_mode-image_xfm.txt"


def displacement_name(scan_id: str, source: str, target: str) -> str:
    """Return the name of a deformable transform, a displacement field."""
    return f"{scan_id}_from-{source}_to-{target}_mode-image_desc-displacement_xfm.nii.gz"


def sidecar_name(image_name: str) -> str:
    """Return the name of the JSON file that describes an image."""
    return f"{image_name.removesuffix('.nii.gz')}.json"


def raw_uri(image: Path) -> str:
    """Return the BIDS URI of an image of the raw dataset, ``bids:raw:sub-X/ses-Y/anat/sub-X_ses-Y_T1w.nii.gz``.

    Args:
        image: Its path. A file that came with the cohort as a derivative has ``derivatives/<name>`` before ``sub-X``.
    """
    parts = image.parts
    first = next(
        (place for place in reversed(range(len(parts) - 1)) if parts[place].startswith("sub-")), len(parts) - 1
    )
    if first >= 2 and parts[first - 2] == "derivatives":
        first -= 2
    return f"bids:{RAW_DATASET}:{'/'.join(parts[first:])}"


def own_uri(scan_id: str, name: str) -> str:
    """Return the BIDS URI of a scan's file in this dataset."""
    return f"bids::{'/'.join(_entity_folders(scan_id))}/{name}"


def _entity_folders(scan_id: str) -> list[str]:
    return [*(entity for entity in scan_id.split("_") if entity.startswith(("sub-", "ses-"))), "anat"]
