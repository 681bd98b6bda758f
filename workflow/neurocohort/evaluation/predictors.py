"""Predictions that another tool made: a table of scans and values becomes one more model next to the network and its baselines.

Nothing is dropped silently: scans without a value, rows that name no scan of the experiment, and values of an implausible size
become notes. Whether the tool was trained on these participants can't be known here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from neurocohort.errors import InputError
from neurocohort.evaluation.measures import CLASSIFICATION, REGRESSION, VALIDATION
from neurocohort.settings.predictors import Predictor
from neurocohort.sources.bids_labels import as_label
from neurocohort.sources.spreadsheets import Row, read_spreadsheet
from neurocohort.sources.variable_numbers import number_of
from neurocohort.text import counted, few

ID_COLUMNS = ("scan_id", "participant_id", "session_id")
# A larger difference of the medians, or a larger ratio, is rather another unit than an error.
FAR_SDS, FAR_RATIO = 3.0, 5.0


@dataclass(frozen=True)
class GivenTable:
    """The values of a table by scan_id, and the number of the row of each. ``column``: where they are. ``unknown``: the names
    of rows that are of no scan of the experiment, as they are written there."""

    path: Path
    column: str
    values: dict[str, float]
    unknown: list[str]


def read_given(predictor: Predictor, samples: pd.DataFrame, task: str) -> GivenTable:
    """Read a table of predictions: scan_id, or participant_id with or without session_id, and a column of numbers.

    Names are understood with or without ``sub-`` and ``ses-``, and with characters that BIDS labels don't have. Empty cells are
    missing values. Other columns don't matter.

    Args:
        predictor: The file, and the column if it is named.
        samples: scan_id and participant_id of the experiment's scans.
        task: Values of a classification are probabilities of the second class, from 0 to 1.

    Raises:
        InputError: If the file can't be read or has no such column, a cell isn't a number, a row could be of several scans or
            has no name, two rows of a scan have different values, or no row is of a scan of the experiment.
    """
    path = Path(predictor.file)
    table = read_spreadsheet(path, ())
    if twice := sorted(set(table.columns[table.columns.duplicated()])):
        raise InputError(f"{path} has the column(s) {', '.join(twice)} twice; expected each once.")
    if not {"scan_id", "participant_id"} & set(table.columns):
        raise InputError(
            f"{path} has the columns {', '.join(table.columns) or '(none)'}; expected `scan_id`, or `participant_id` and "
            "`session_id`, with the names of the scans. Rename a column."
        )
    column = _column(path, table, predictor.column)
    limits = (0.0, 1.0) if task == CLASSIFICATION else None
    places, values, unknown = _Places(path, samples), dict[str, float](), list[str]()
    rows_of: dict[str, int] = {}
    for number, cells in zip(table.index, table.to_dict("records"), strict=True):
        row = Row(path, int(number), cells)
        name, scan = places.of(row)
        value = row.number_in(column, limits)
        if scan is None:
            unknown.append(name)
        elif value is not None:
            if values.setdefault(scan, value) != value:
                raise InputError(
                    f"{path}, rows {rows_of[scan]} and {number}, column {column!r} have {values[scan]:g} and {value:g} for "
                    f"{scan}; expected one value a scan. Delete one of the rows."
                )
            rows_of.setdefault(scan, int(number))
    if not values:
        found = f"its rows are of {few(unknown)}" if unknown else "it has no values"
        raise InputError(
            f"{path} has no value for any scan of this experiment: {found}; the experiment's scans are "
            f"{few(samples['scan_id'])}. Write their names, as in samples.tsv, into the table."
        )
    return GivenTable(path, column, values, unknown)


def notes_on(name: str, given: GivenTable, samples: pd.DataFrame, task: str) -> Iterator[str]:
    """Yield a sentence for each thing that a person should know of a table.

    Args:
        name: The model's name.
        given: The table.
        samples: scan_id, part and target of the scans that are predicted.
        task: The task.
    """
    about, lacks = f"{name} ({given.path.name}, column {given.column})", ~samples["scan_id"].isin(list(given.values))
    tested = samples["part"] != VALIDATION
    if (lacks & tested).any():
        yield (
            f"{about} has no value for {(lacks & tested).sum()} of {counted(int(tested.sum()), 'tested scan')}: "
            f"{few(samples.loc[lacks & tested, 'scan_id'])}. Its metrics are of the other scans, and its difference to the "
            "network of the scans that both have."
        )
    if (lacks & ~tested).any():
        yield (
            f"{about} has no value for {(lacks & ~tested).sum()} of {counted(int((~tested).sum()), 'validation scan')}, on which "
            "bias lines and thresholds are fitted: its own are fitted on the others, or missing."
        )
    if given.unknown:
        yield (
            f"{about} has {counted(len(given.unknown), 'row')} of no scan of this experiment, which are not used: "
            f"{few(given.unknown)}."
        )
    if task == REGRESSION and (doubt := _doubt(given, samples)):
        yield f"{about} {doubt}"


def _doubt(given: GivenTable, samples: pd.DataFrame) -> str:
    """Whether the values are of another size than the target, as of another unit; empty if not."""
    own = samples[samples["scan_id"].isin(list(given.values))]
    target = own["target"].to_numpy(dtype=float)
    found, true = float(np.median(own["scan_id"].map(given.values))), float(np.median(target))
    apart, spread = abs(found - true), float(np.std(target))
    ratio = found / true if true else np.inf
    if apart > FAR_SDS * spread or (apart > spread and not 1 / FAR_RATIO < ratio < FAR_RATIO):
        return (
            f"has a median of {found:.4g}, and the true values of the same scans one of {true:.4g}; are they of another unit, "
            "such as months instead of years, or of another column? They are evaluated as they are."
        )
    return ""


class _Places:
    """Finds the scan of a row of the table at ``path`` among ``samples``."""

    def __init__(self, path: Path, samples: pd.DataFrame):
        self.path = path
        self.scans = set(samples["scan_id"])
        self.of_participant = samples.groupby("participant_id")["scan_id"].agg(list).to_dict()

    def of(self, row: Row) -> tuple[str, str | None]:
        """The name of a row's scan as it is written, and its scan_id; None if the experiment has no such scan."""
        scan, participant, session = (_text(row.cells.get(column)) for column in ID_COLUMNS)
        if scan:
            return scan, next((one for one in (scan, f"sub-{scan}") if one in self.scans), None)
        if not participant:
            raise row.fault(
                "scan_id" if "scan_id" in row.cells else "participant_id",
                "is empty: expected the name of a scan or participant. Fill it in, or delete the row.",
            )
        label = as_label(participant, "sub-") or participant
        if session:
            name = f"{label}_{as_label(session, 'ses-') or session}"
            return f"{participant} {session}", name if name in self.scans else None
        own = self.of_participant.get(label, [])
        if len(own) > 1:
            raise row.fault(
                "participant_id",
                f"is {participant!r}, who has {len(own)} scans in this experiment ({few(own)}): add a column session_id or "
                "scan_id.",
            )
        return participant, own[0] if own else None


def _column(path: Path, table: pd.DataFrame, wanted: str | None) -> str:
    """The column with the predictions."""
    others = [name for name in table.columns if name not in ID_COLUMNS]
    if wanted is not None:
        if wanted not in others:
            raise InputError(
                f"{path} has no column {wanted!r} with predictions; it has {', '.join(others) or 'names only'}. Correct "
                "`column`, or the table."
            )
        return wanted
    numeric = others if len(others) == 1 else [name for name in others if _numeric(table[name])]
    if len(numeric) != 1:
        found = f"several columns of numbers ({', '.join(numeric)})" if numeric else "no column of numbers"
        raise InputError(f"{path} has {found}; expected one, or the key `column` with the name of the one to take.")
    return numeric[0]


def _numeric(cells: pd.Series) -> bool:
    """Whether all cells of a column that aren't empty are numbers, and there is one."""
    given = [cell for cell in cells if cell is not None]
    return bool(given) and all(
        number_of(cell) is not None if isinstance(cell, str) else isinstance(cell, int | float) for cell in given
    )


def _text(cell: object) -> str:
    """A name as text. A spreadsheet has ``12`` as the number 12.0."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return "" if cell is None else str(cell)
