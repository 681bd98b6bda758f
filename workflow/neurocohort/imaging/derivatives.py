"""Names in ``results/<cohort>/preproc``, a BIDS derivative dataset: what each file of a scan is called, and where it lies.

The entities stand in the order of BIDS: those of the raw scan, ``space``, ``label``, ``desc``. The imports are light, because
Snakemake reads this module at the start of its every process.
"""

from pathlib import Path

TEMPLATE_SPACE = "MNI152NLin2009aSym"
TEMPLATE_URI = "https://www.bic.mni.mcgill.ca/ServicesAtlases/ICBM152NLin2009"
SUFFIXES = {"csf": "CSF", "gm": "GM", "wm": "WM"}  # a tissue's label entity
RAW_DATASET = "raw"  # the name of data/<cohort> in BIDS URIs; dataset_description.json says where it lies
IGNORED = ("*_xfm.txt", "*_xfm.nii.gz", "*_mosaic.webp", "*_qc.json")  # what BIDS has no names for
BEGINNINGS = (
    "space-",
    "label-",
    "desc-",
    "from-",
    "mosaic.",
    "qc.",
)  # of what follows the scan_id in the name of a scan's file
MOSAICS = "**/anat/*_mosaic.webp"  # of all scans, below the dataset


def scan_folder(preproc: Path, scan_id: str) -> Path:
    """The folder of a scan's files, ``sub-X/ses-Y/anat``; the runs of one session share it.

    ``scan_id``: ``sub-X[_ses-Y][_run-N]``, the first entities of every file's name.
    """
    return Path(preproc, *_entity_folders(scan_id))


def qc_path(preproc: Path, scan_id: str) -> Path:
    """The record of a scan: its state, quality numbers, and files with their hashes. It is written last."""
    return scan_folder(preproc, scan_id) / qc_name(scan_id)


def files_of(folder: Path, scan_id: str) -> list[Path]:
    """The files of a scan in its ``folder``, and not those of another run of the session, which lie there too."""
    return [
        file for file in folder.glob(f"{scan_id}_*") if file.name.removeprefix(f"{scan_id}_").startswith(BEGINNINGS)
    ]


def qc_name(scan_id: str) -> str:
    """The name of a scan's record."""
    return f"{scan_id}_qc.json"


def mosaic_name(scan_id: str) -> str:
    """The name of the picture of slices."""
    return f"{scan_id}_mosaic.webp"


def preproc_name(scan_id: str, modality: str) -> str:
    """The name of the preprocessed image of one modality on the study's grid."""
    return f"{scan_id}_space-{TEMPLATE_SPACE}_desc-preproc_{modality}.nii.gz"


def brain_mask_name(scan_id: str) -> str:
    """The name of the brain mask on the raw scan's grid."""
    return f"{scan_id}_desc-brain_mask.nii.gz"


def tissue_map_name(scan_id: str, tissue: str) -> str:
    """The name of the map of one tissue's probability (csf, gm or wm) on the raw scan's grid."""
    return f"{scan_id}_label-{SUFFIXES[tissue]}_probseg.nii.gz"


def labels_name(scan_id: str) -> str:
    """The name of the cohort's own tissue labels on the study's grid."""
    return f"{scan_id}_space-{TEMPLATE_SPACE}_dseg.nii.gz"


def affine_name(scan_id: str, source: str, target: str) -> str:
    """The name of an affine transform, in ITK's text format."""
    return f"{scan_id}_from-{source}_to-{target}_mode-image_xfm.txt"


def displacement_name(scan_id: str, source: str, target: str) -> str:
    """The name of a deformable transform, a displacement field."""
    return f"{scan_id}_from-{source}_to-{target}_mode-image_desc-displacement_xfm.nii.gz"


def sidecar_name(image_name: str) -> str:
    """The name of the JSON file that describes an image."""
    return f"{image_name.removesuffix('.nii.gz')}.json"


def raw_uri(image: Path) -> str:
    """The BIDS URI of an image of the cohort's raw dataset, ``bids:raw:sub-X/ses-Y/anat/sub-X_ses-Y_T1w.nii.gz``.

    ``image``: its path, with that of the dataset before it. A file that came with the cohort as a derivative has
    ``derivatives/<name>`` before ``sub-X``.
    """
    parts = image.parts
    first = next(
        (place for place in reversed(range(len(parts) - 1)) if parts[place].startswith("sub-")), len(parts) - 1
    )
    if first >= 2 and parts[first - 2] == "derivatives":
        first -= 2
    return f"bids:{RAW_DATASET}:{'/'.join(parts[first:])}"


def own_uri(scan_id: str, name: str) -> str:
    """The BIDS URI of a file of the scan in this dataset."""
    return f"bids::{'/'.join(_entity_folders(scan_id))}/{name}"


def _entity_folders(scan_id: str) -> list[str]:
    return [*(entity for entity in scan_id.split("_") if entity.startswith(("sub-", "ses-"))), "anat"]
