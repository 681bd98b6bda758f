"""The group level of the BIDS App: one table and a page for each model from what the participant level has written.

A scan of the dataset without a result is a row too, and says how to obtain it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from neurocohort.apply.bids_app import layout
from neurocohort.apply.bids_app.group_page import write_page
from neurocohort.apply.bids_app.participants import ID_COLUMNS, Model, Request
from neurocohort.apply.bids_app.scans import BidsScan, Dataset, LeftOut, read_dataset, selected
from neurocohort.apply.outcomes import PREDICTED
from neurocohort.errors import InputError
from neurocohort.files import read_json, write_json, write_table
from neurocohort.notes import Note, write_notes
from neurocohort.report import labels
from neurocohort.text import few

MISSING, LEFT_OUT = "missing", "left out"
DICTIONARY = {
    "participant_id": "Participant, as in participants.tsv of the dataset",
    "session_id": "Session; n/a for participants without session folders",
    "run": "Run; n/a without one",
    "model": "Name of the model",
    "scan_id": "Entities of the image's name",
    "file": "The image that was used",
    "status": f"predicted; refused (flagged, with --strict); failed; {LEFT_OUT} (no image that can be used); {MISSING} (not run)",
    "prediction": "Mean over the networks of the model: the value, the class, or the probability of class 1 of two",
    "brain_pad": "Brain-predicted age difference: predicted minus known age in years, not corrected for regression to the mean",
    "interval_low": "Lower end of the 95 % prediction interval",
    "interval_high": "Upper end of the 95 % prediction interval",
    "set": "95 % prediction set: class numbers",
    "spread": "Standard deviation over the networks of the model",
    "flags": "In which respects the scan differs from the training scans",
    "flag_sentences": "The same in sentences",
    "reason": "Why there is no prediction",
    "age": "Age in years, from the tables of the dataset",
    "sex": "Sex, from the tables of the dataset",
    "site": "Site, from the tables of the dataset",
}


@dataclass(frozen=True)
class Group:
    """The results of one model.

    Attributes:
        records: What the participant level has written for each scan, by scan_id.
        table: A row for each scan, all cells as text.
        notes: On the choice of the scans.
    """

    records: dict[str, dict[str, Any]]
    table: pd.DataFrame
    notes: list[Note]

    @property
    def model(self) -> dict[str, Any]:
        """What the model is."""
        return next(iter(self.records.values()))["model"]

    def rows_of(self, status: str) -> pd.DataFrame:
        """The rows with a status."""
        return self.table[self.table["status"] == status]


def collect(request: Request, models: Sequence[Model] = ()) -> list[Group]:
    """Collect the results in ``request.output``, and write the table, its data dictionary, the notes and a page for each model.

    Args:
        request: The dataset, the output folder, and which participants and sessions.
        models: The models whose results are wanted; all that there are if empty.

    Returns:
        The results by model.

    Raises:
        InputError: If there is no result, results of one model were made with different networks, or a file can't be read.
    """
    layout.check_output(request.dataset, request.output)
    groups = [_group(request, records) for records in _records(request, models).values()]
    table = pd.concat([group.table for group in groups], ignore_index=True)
    table = table[[*sorted(table.columns, key=lambda name: _place(groups, name))]]
    write_table(request.output / layout.GROUP_TABLE, table)
    write_json(request.output / layout.GROUP_DICTIONARY, {name: {"Description": _meaning(name)} for name in table})
    notes = dict.fromkeys(note for group in groups for note in group.notes)
    write_notes(request.output / layout.NOTES, notes)
    for group in groups:
        layout.write_style(request.output / layout.REPORTS / group.model["label"])
        write_page(request.output, group.model, group.records, group.table, [note.shown for note in group.notes])
    return groups


def _records(request: Request, models: Sequence[Model]) -> dict[str, dict[str, dict[str, Any]]]:
    """The wanted records by label of the model and scan_id."""
    wanted = {model.label: model for model in models}
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for path in sorted(path for pattern in layout.RECORDS for path in request.output.glob(pattern)):
        record = read_json(path)
        label = record["model"]["label"]
        if wanted and label not in wanted:
            continue
        if request.selection.has(record["participant_id"], record["session_id"]):
            found[label][record["scan"]["scan_id"]] = record | {"path": path}
    if absent := sorted(set(wanted) - set(found)) or ([] if found else ["any model"]):
        raise InputError(
            f"{request.output} has no results of {few(absent)}: run the participant level first, with the same output folder."
        )
    for label, records in found.items():
        _check_one_model(records, wanted.get(label))
    return found


def _check_one_model(records: dict[str, dict[str, Any]], model: Model | None) -> None:
    """Raise InputError unless all results are of one version of a model, and of the given one."""
    by_hash: dict[str, list[str]] = defaultdict(list)
    for scan_id, record in records.items():
        by_hash[record["model"]["sha256"]].append(scan_id)
    name = next(iter(records.values()))["model"]["experiment"]
    if model and (others := [one for sha256, scans in by_hash.items() if sha256 != model.sha256 for one in scans]):
        raise InputError(
            f"the results of {few(others)} are not of the model in {model.bundle.folder}, but of another one named {name}; run "
            "the participant level again for them."
        )
    if len(by_hash) > 1:
        fewest = min(by_hash.values(), key=len)
        raise InputError(
            f"the results were made with {len(by_hash)} different models named {name}; {few(fewest)} differ from the others. Run "
            "the participant level again for them."
        )


def _group(request: Request, records: dict[str, dict[str, Any]]) -> Group:
    model = next(iter(records.values()))["model"]
    expected: dict[str, BidsScan] = {}
    left_out: list[LeftOut] = []
    notes: list[Note] = []
    for choice in sorted({record["chosen_run"] for record in records.values()}):
        every = read_dataset(request.dataset, run=choice, modalities=model["modalities"])
        dataset: Dataset = selected(every, request.selection, request.dataset)
        expected |= {one.scan.scan_id: one for one in dataset.scans}
        left_out, notes = dataset.left_out, [*notes, *dataset.notes]
    tables = [_row(record) for record in records.values()]
    absent = [one for scan_id, one in expected.items() if scan_id not in records]
    rows = pd.DataFrame([*_absent_rows(absent), *_left_out_rows(left_out)], dtype=str)
    if len(rows):
        tables.append(rows.assign(model=model["experiment"]))
    table = pd.concat(tables, ignore_index=True)
    if model["target"] == "age" and "prediction" in table and "age" in table:
        table["brain_pad"] = _differences(table)
    ids = [name for name in ID_COLUMNS if name in table]
    return Group(records, table.sort_values(ids, kind="stable", ignore_index=True), notes)


def _row(record: dict[str, Any]) -> pd.DataFrame:
    """The row of a scan as it was written, so that every digit stays."""
    path = record["path"].with_name(record["path"].name.replace(layout.RECORD_ENDING, layout.TABLE_ENDING))
    try:
        return pd.read_csv(path, sep="\t", dtype=str, na_values=["n/a", ""], keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read ({error}); run the participant level again for this scan.") from error


def _absent_rows(scans: Iterable[BidsScan]) -> list[dict[str, Any]]:
    return [
        {
            "participant_id": one.participant_id,
            "session_id": one.session_id,
            "run": None if one.run is None else str(one.run),
            "scan_id": one.scan.scan_id,
            "file": one.scan.path.name,
            "status": MISSING,
            "reason": f"There is no result: run the participant level with --participant-label {one.participant_id}.",
        }
        for one in scans
    ]


def _left_out_rows(left_out: Iterable[LeftOut]) -> list[dict[str, Any]]:
    return [
        {
            "participant_id": one.participant_id,
            "session_id": one.session_id,
            "status": LEFT_OUT,
            "reason": one.reason,
        }
        for one in left_out
    ]


def _differences(table: pd.DataFrame) -> pd.Series:
    """Predicted minus known age, as text with three decimals; None where one of them is not known."""
    found = pd.to_numeric(table["prediction"]) - pd.to_numeric(table["age"])
    text = found.map("{:.3f}".format).where(table["status"] == PREDICTED)
    return text.where(found.notna(), None)


def _place(groups: Sequence[Group], name: str) -> tuple[int, int]:
    """Where a column is: those of the data dictionary in its order, volumes of label maps after the prediction, then others."""
    known = list(DICTIONARY)
    if name in known:
        return known.index(name), 0
    if name.startswith(("probability_", "dseg_")):
        return known.index("prediction"), 1
    columns = [one for group in groups for one in group.table]
    return len(known), columns.index(name)


def _meaning(name: str) -> str:
    if name.startswith("dseg_"):
        return f"Volume of {name.split('_')[1]} in the label map, in mL"
    if name.startswith("probability_"):
        return f"Probability of class {name.removeprefix('probability_')}"
    return DICTIONARY.get(name) or f"{labels.quality(name)} (quality number or volume)"
