"""The files of the derivative dataset that the BIDS App writes, and the ones that describe it.

Several processes may write different participants at the same time. The descriptions depend on the dataset alone, are written
aside and renamed, and are left alone where they are the same already.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from neurocohort import __version__
from neurocohort.apply.bids_app.scans import BidsScan
from neurocohort.apply.results import SCANS
from neurocohort.errors import InputError
from neurocohort.files import read_json, write_text
from neurocohort.imaging.derivatives import RAW_DATASET
from neurocohort.imaging.label_names import label_table
from neurocohort.report.pages import TEMPLATES
from neurocohort.structures import TISSUES
from neurocohort.text import few
from neurocohort.version import BIDS_VERSION, code_address

DESCRIPTION, GENERATOR = "dataset_description.json", "neurocohort"
REPORTS, GROUP_TABLE, GROUP_DICTIONARY, NOTES = "reports", "predictions.tsv", "predictions.json", "notes.tsv"
RECORD_ENDING, TABLE_ENDING = "_prediction.json", "_prediction.tsv"
RECORDS = (f"sub-*/anat/*{RECORD_ENDING}", f"sub-*/ses-*/anat/*{RECORD_ENDING}")
IGNORED = (
    f"/{REPORTS}",  # no slash at the end: the validator would report the folder itself
    f"/{GROUP_TABLE}",
    f"/{GROUP_DICTIONARY}",
    f"/{NOTES}",
    f"*{RECORD_ENDING}",
    f"*{TABLE_ENDING}",
)
README = f"""# Predictions of neurocohort

A BIDS derivative dataset. The files of a scan are in `sub-*/[ses-*/]anat/`; `desc-` is the name of the model.

- `*{TABLE_ENDING}`, `*{RECORD_ENDING}`: prediction, interval or set, flags, quality numbers
- `*_dseg.nii.gz`: the label map of a segmentation, on the scan's own grid; `dseg.tsv` has the names of its labels
- `{REPORTS}/<model>/scans/*.html`: the scan's page, with its picture (`*.png`)

The group level writes `{GROUP_TABLE}` (a row for each scan and model; `participant_id` joins it to participants.tsv), its data
dictionary `{GROUP_DICTIONARY}`, `{NOTES}` on the choice of the scans, and `{REPORTS}/<model>/index.html`.
"""


def check_output(dataset: Path, output: Path) -> None:
    """Raise InputError if the output folder is the raw dataset, contains it, or is another program's dataset."""
    raw, place = Path(os.path.realpath(dataset)), Path(os.path.realpath(output))
    if place in (raw, *raw.parents):
        raise InputError(
            f"the output folder {output} is the dataset {dataset} or contains it; give another, such as "
            f"{dataset / 'derivatives' / GENERATOR}."
        )
    if output.exists() and not output.is_dir():
        raise InputError(f"the output folder {output} is a file; give a folder.")
    if not (output / DESCRIPTION).is_file():
        return
    made_by = read_json(output / DESCRIPTION).get("GeneratedBy") or []
    names = [str(one.get("Name")) for one in made_by if isinstance(one, dict)]
    if GENERATOR not in names:
        raise InputError(
            f"the output folder {output} has a dataset of {few(names) or 'another origin'} by its {DESCRIPTION}; give an empty "
            "folder, or one that this command wrote."
        )


def write_dataset_files(dataset: Path, output: Path, structures: Mapping[str, Sequence[str]]) -> None:
    """Write the description of the derivative dataset, and the names of the labels of its label maps.

    Args:
        dataset: The raw dataset.
        output: The folder of the derivative dataset.
        structures: By the label of each model that segments (`label_of`), the names of its structures.
    """
    given = read_json(dataset / DESCRIPTION) if (dataset / DESCRIPTION).is_file() else {}
    address = code_address()
    link = os.path.relpath(os.path.realpath(dataset), os.path.realpath(output))
    origin = {"DOI": given["DatasetDOI"]} if given.get("DatasetDOI") else {"URL": link}
    description = {
        "Name": f"{given.get('Name') or dataset.resolve().name}, predictions",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": GENERATOR, "Version": __version__} | ({"CodeURL": address} if address else {})],
        "SourceDatasets": [origin],
        "DatasetLinks": {RAW_DATASET: link},
    }
    if given.get("License"):
        description["License"] = given["License"]
    _write(output / ".bidsignore", "".join(f"{pattern}\n" for pattern in IGNORED))
    _write(output / "README.md", README)
    for label, names in structures.items():
        table = "dseg.tsv" if tuple(names) == TISSUES else f"desc-{label}_dseg.tsv"
        _write(output / table, label_table(names).to_csv(sep="\t", index=False, lineterminator="\n"))
    _write(output / DESCRIPTION, json.dumps(description, indent=2, ensure_ascii=False) + "\n")


def write_style(reports: Path) -> None:
    """Write the style sheet of the pages of a model."""
    _write(reports / SCANS / "report.css", (TEMPLATES / "report.css").read_text(encoding="utf-8"))


def label_of(experiment: str) -> str:
    """The value of ``desc-`` of an experiment's files: its name without what a BIDS label can't have."""
    return re.sub(r"[^A-Za-z0-9]+", "", experiment) or "model"


def files_of(output: Path, scan: BidsScan, label: str) -> dict[str, Path]:
    """The files of a scan and a model: ``record``, ``table``, ``labels`` and ``sidecar``."""
    start = f"{scan.scan.scan_id}_desc-{label}"
    names = {"record": RECORD_ENDING, "table": TABLE_ENDING, "labels": "_dseg.nii.gz", "sidecar": "_dseg.json"}
    return {name: output / scan.folder / f"{start}{ending}" for name, ending in names.items()}


def _write(path: Path, text: str) -> None:
    if not (path.is_file() and path.read_text(encoding="utf-8") == text):
        write_text(path, text)
