"""The participant level of the BIDS App: each scan's prediction, label map, picture and page, in a BIDS derivative dataset."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from neurocohort.apply.bids_app import layout
from neurocohort.apply.bids_app.scans import BidsScan, Dataset, Selection, read_dataset, selected
from neurocohort.apply.bundles import RawScanBundle
from neurocohort.apply.one_scan import MAPS, Options
from neurocohort.apply.outcomes import Outcome
from neurocohort.apply.pages import write_page
from neurocohort.apply.predict import open_model, outcomes_of
from neurocohort.apply.results import predictions_record, predictions_table, write_images
from neurocohort.errors import InputError
from neurocohort.export.raw_scans import RAW_SCANS
from neurocohort.files import sha256_of, write_json, write_table, written_aside
from neurocohort.imaging.derivatives import raw_uri
from neurocohort.imaging.reading import write_image

ID_COLUMNS = ("participant_id", "session_id", "run", "model")


@dataclass(frozen=True)
class Request:
    """What is to be done.

    Attributes:
        dataset: The raw BIDS dataset.
        output: The folder of the derivative dataset.
        models: The folders of the bundles.
        selection: The wanted participants and sessions.
        run: Which of several images of a session: ``first``, ``last`` or ``all``.
    """

    dataset: Path
    output: Path
    models: Sequence[Path] = ()
    selection: Selection = field(default_factory=Selection)
    run: str = "first"


@dataclass(frozen=True)
class Model:
    """A bundle that is applied: the value of ``desc-`` of its files, and the sha256 of its description and weights together."""

    bundle: RawScanBundle
    options: Options
    label: str
    sha256: str

    @property
    def modalities(self) -> list[str]:
        """The raw images that it needs, T1w first."""
        return ["T1w", *(name for name in self.bundle.modalities if name not in (*MAPS, "T1w"))]


def apply_models(
    request: Request,
    options: Options,
    device: str,
    done: Callable[[Outcome], None] = lambda _: None,
    found: Callable[[Dataset], None] = lambda _: None,
) -> int:
    """Apply every model to the wanted scans, and write the files of each scan. Its record is written last.

    Args:
        request: The dataset, the models, and which scans.
        options: How scans are treated.
        device: As of `predict_scans`.
        done: Called after each scan and model.
        found: Called with what the dataset has for a model.

    Returns:
        How many scans have a prediction, over all models.

    Raises:
        InputError: If the dataset, a model, a label or an option can't be used.
    """
    layout.check_output(request.dataset, request.output)
    models = open_models(request.models, options, device)
    structures = {model.label: model.bundle.structures for model in models if model.bundle.segments}
    predicted = 0
    for model in models:
        every = read_dataset(request.dataset, run=request.run, modalities=model.modalities)
        dataset = selected(every, request.selection, request.dataset)
        found(dataset)
        layout.write_dataset_files(request.dataset, request.output, structures)
        layout.write_style(request.output / layout.REPORTS / model.label)
        for scan, outcome in _outcomes(model, dataset.scans):
            _write_scan(request, model, scan, outcome, dataset.scans)
            done(outcome)
            predicted += outcome.predicted
    return predicted


def open_models(folders: Sequence[Path], options: Options, device: str) -> list[Model]:
    """Open bundles. Raises InputError if there is none, or two have the same name."""
    if not folders:
        raise InputError("no model is given: name at least one bundle, --model results/models/brain_age.")
    found: dict[str, Model] = {}
    for folder in folders:
        bundle, completed = open_model(folder, options, device)
        label = layout.label_of(bundle.experiment)
        if label in found:
            raise InputError(
                f"--model: {found[label].bundle.folder} and {folder} are both named {bundle.experiment}, so their files would "
                "have the same names; give them different output folders."
            )
        found[label] = Model(bundle, completed, label, _sha256(bundle))
    return list(found.values())


def _sha256(bundle: RawScanBundle) -> str:
    """One hash of what predictions depend on: the description for raw scans, and every file of the folder ``models``."""
    files = [
        bundle.folder / RAW_SCANS,
        *sorted(path for path in (bundle.folder / "models").rglob("*") if path.is_file()),
    ]
    return hashlib.sha256("".join(sha256_of(path) for path in files).encode()).hexdigest()


def _outcomes(model: Model, scans: Sequence[BidsScan]) -> Iterator[tuple[BidsScan, Outcome]]:
    return zip(scans, outcomes_of(model.bundle, [one.scan for one in scans], model.options), strict=True)


def _write_scan(request: Request, model: Model, scan: BidsScan, outcome: Outcome, scans: Sequence[BidsScan]) -> None:
    files = layout.files_of(request.output, scan, model.label)
    for path in files.values():  # of an earlier run; without its record, the scan counts as missing
        path.unlink(missing_ok=True)
    if outcome.labels is not None:
        with written_aside(files["labels"]) as aside:
            write_image(aside, outcome.labels.data, outcome.labels.affine)
        write_json(files["sidecar"], _sidecar(scan, model))
    reports = request.output / layout.REPORTS / model.label
    write_images(reports, dataclasses.replace(outcome, labels=None))
    own = [one.scan.scan_id for one in scans if one.participant_id == scan.participant_id]
    write_page(reports, model.bundle, own, outcome)
    write_table(files["table"], _table(model, scan, outcome))
    write_json(files["record"], _record(request, model, scan, outcome))


def _sidecar(scan: BidsScan, model: Model) -> dict[str, Any]:
    raw = raw_uri(Path(scan.source))
    names = ", ".join(f"{label} {name}" for label, name in enumerate(model.bundle.structures, start=1))
    return {
        "Description": f"Label map of the model {model.bundle.experiment} on the scan's own grid: {names}",
        "Sources": [raw],
        "SpatialReference": raw,
        "Manual": False,
    }


def _ids(model: Model, scan: BidsScan) -> dict[str, Any]:
    values = (scan.participant_id, scan.session_id, scan.run, model.bundle.experiment)
    return dict(zip(ID_COLUMNS, values, strict=True))


def _table(model: Model, scan: BidsScan, outcome: Outcome) -> pd.DataFrame:
    """The row of `neurocohort predict` after participant, session, run and model; with the volumes of a segmentation."""
    row = predictions_table(model.bundle, [outcome])
    place = list(row.columns).index("status") + 1
    for offset, (name, volume) in enumerate(outcome.volumes_ml.items()):
        row.insert(place + offset, f"dseg_{name}_ml", volume)
    return pd.concat([pd.DataFrame([_ids(model, scan)]), row], axis=1)


def _record(request: Request, model: Model, scan: BidsScan, outcome: Outcome) -> dict[str, Any]:
    record = predictions_record(model.bundle, [outcome])
    (own,) = record.pop("scans")
    record["model"] |= {"label": model.label, "sha256": model.sha256, "modalities": model.modalities}
    ids = {name: value for name, value in _ids(model, scan).items() if name not in record}
    return record | ids | {"source": scan.source, "chosen_run": request.run, "scan": own}
