"""The page of the group level: the scans with their predictions and flags, distributions, and quality numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import FileSystemLoader
from matplotlib.ticker import MaxNLocator

from neurocohort.apply.bids_app import layout
from neurocohort.apply.outcomes import PREDICTED
from neurocohort.apply.pages import INDEX, OWN_TEMPLATES
from neurocohort.apply.results import SCANS
from neurocohort.export.reference import kind_of
from neurocohort.files import write_text
from neurocohort.learning.tasks import REGRESSION, SEGMENTATION
from neurocohort.report import labels, pages
from neurocohort.report.figures import BLUE, GREY, Drawing, axes_of
from neurocohort.report.subjects import named_set

FEWEST_DRAWN = 2
MOST_BINS = 30


@dataclass(frozen=True)
class Row:
    """A row of the list. ``page``: the file name of the scan's page; None without one."""

    name: str
    page: str | None
    status: str
    cells: list[str]
    remark: str


@dataclass(frozen=True)
class Quality:
    """A quality number over the scans. ``beyond``: how many are beyond the limit of the scores."""

    heading: str
    count: int
    cells: list[str]
    beyond: int


def write_page(
    output: Path,
    model: Mapping[str, Any],
    records: Mapping[str, Mapping[str, Any]],
    table: pd.DataFrame,
    notes: Sequence[str],
) -> None:
    """Write ``reports/<model>/index.html`` and its figures.

    Args:
        output: The derivative dataset.
        model: What the model is.
        records: What the participant level has written, by scan_id.
        table: A row for each scan, all cells as text.
        notes: Sentences on the choice of the scans.
    """
    folder = output / layout.REPORTS / model["label"]
    columns = _columns(model, table)
    made = pages.environment()
    made.loader = FileSystemLoader([OWN_TEMPLATES, pages.TEMPLATES])
    text = made.get_template("bids_group.html.j2").render(
        study=model["study"],
        demo=model["demo_data"],
        experiment_name=model["experiment"],
        intended_use=model["intended_use"],
        date=date.today().isoformat(),
        columns=list(columns),
        rows=[_row(row, columns, model, folder) for row in table.to_dict("records")],
        counts=table["status"].value_counts().to_dict(),
        flagged=int(table["flags"].notna().sum()) if "flags" in table else 0,
        figures=list(_figures(folder, model, table)),
        quality=_quality(records),
        notes=list(notes),
        table=f"../../{layout.GROUP_TABLE}",
    )
    write_text(folder / INDEX, text)


def _columns(model: Mapping[str, Any], table: pd.DataFrame) -> dict[str, str]:
    """The shown columns: heading and column of the table."""
    if model["task"] == SEGMENTATION:
        return {f"{name} (mL)": f"dseg_{name}_ml" for name in ("CSF", "GM", "WM") if f"dseg_{name}_ml" in table}
    if model["task"] == REGRESSION:
        shown = {f"Predicted {labels.target(model['target'])}": "prediction", "95 % interval": "interval_low"}
        shown |= {"Age": "age"} if model["target"] == "age" else {}
        shown |= {"Brain-PAD": "brain_pad"}
    else:
        several = len(model["classes"]) > 2
        shown = {"Predicted class" if several else f"Probability of {model['classes'][1]}": "prediction"}
        shown |= {"95 % set": "set"}
    return {heading: name for heading, name in shown.items() if name in table}


def _row(row: Mapping[str, Any], columns: Mapping[str, str], model: Mapping[str, Any], folder: Path) -> Row:
    known = {name: value for name, value in row.items() if not pd.isna(value)}
    name = known.get("scan_id") or "_".join(filter(None, (known["participant_id"], known.get("session_id"))))
    page = f"{SCANS}/{name}.html"
    cells = [_cell(column, known, model) for column in columns.values()]
    remark = known.get("reason") or known.get("flags") or "–"
    return Row(name, page if (folder / page).is_file() else None, known["status"], cells, remark)


def _cell(column: str, row: Mapping[str, str], model: Mapping[str, Any]) -> str:
    if column not in row:
        return "–"
    if column == "set":
        return named_set(model["classes"], row["set"])
    if column == "prediction" and len(model["classes"]) > 2:
        return model["classes"][int(float(row["prediction"]))]
    decimals = 1 if model["task"] in (REGRESSION, SEGMENTATION) else 3
    value = labels.number(float(row[column]), decimals)
    if column == "interval_low":
        return f"{value} to {labels.number(float(row['interval_high']), decimals)}"
    return value


def _figures(folder: Path, model: Mapping[str, Any], table: pd.DataFrame) -> list[Drawing]:
    """A distribution of each predicted quantity with enough values."""
    unit = labels.unit(model["target"]).strip()
    quantity = labels.target(model["target"])
    headings = {
        "brain_pad": "Brain-PAD (years)",
        "prediction": f"Predicted {quantity}{f' ({unit})' if unit else ''}",
        **{f"dseg_{name}_ml": f"Volume of {name} (mL)" for name in ("CSF", "GM", "WM")},
    }
    if model["classes"] and model["task"] not in (REGRESSION, SEGMENTATION):
        several = len(model["classes"]) > 2
        headings["prediction"] = "Predicted class (number)" if several else f"Probability of {model['classes'][1]}"
    drawn = []
    predicted = table[table["status"] == PREDICTED]
    for column, heading in headings.items():
        values = pd.to_numeric(predicted[column]).dropna().to_numpy(dtype=float) if column in table else np.array([])
        path = folder / "figures" / f"{column}.svg"
        path.unlink(missing_ok=True)
        if len(values) < FEWEST_DRAWN:
            continue
        _draw_distribution(values, path, heading)
        middle = f"mean {labels.number(values.mean(), 2)}, standard deviation {labels.number(values.std(ddof=1), 2)}"
        span = f"{labels.number(values.min(), 2)} to {labels.number(values.max(), 2)}"
        caption = f"{heading} of {labels.counted(len(values), 'scan')}: {middle}, {span}. The line is the mean."
        if column == "brain_pad":
            caption += " Predicted minus known age, not corrected for regression to the mean."
        drawn.append(Drawing.of(path, f"Histogram. {caption}", caption))
    return drawn


def _draw_distribution(values: np.ndarray, path: Path, heading: str) -> None:
    with axes_of(path, (4.9, 2.8)) as axes:
        bins = min(len(np.histogram_bin_edges(values, "auto")) - 1, MOST_BINS)
        axes.hist(values, bins=bins, color=BLUE, alpha=0.8, linewidth=0)
        axes.axvline(float(values.mean()), color=GREY, linewidth=1.0)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel=heading, ylabel="Scans")


def _quality(records: Mapping[str, Mapping[str, Any]]) -> list[Quality]:
    names = dict.fromkeys(name for record in records.values() for name in record["scan"]["quality"])
    found = []
    for name in names:
        known = [record["scan"]["quality"].get(name) for record in records.values()]
        values = [float(value) for value in known if labels.is_number(value)]
        if not values:
            continue
        decimals = labels.decimals_for(values)
        cells = [labels.number(value, decimals) for value in (np.median(values), min(values), max(values))]
        beyond = sum(abs(one["scan"]["scores"].get(name, 0)) > one["limits"][kind_of(name)] for one in records.values())
        found.append(Quality(labels.quality(name), len(values), cells, beyond))
    return found
