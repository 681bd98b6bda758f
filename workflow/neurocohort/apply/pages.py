"""The pages of an application: one for each scan, from the template of the report's subject pages, and the list of all."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader
from PIL import Image

from neurocohort.apply.bundles import RawScanBundle
from neurocohort.apply.outcomes import Outcome
from neurocohort.apply.results import SCANS, mosaic_path
from neurocohort.export.reference import Spread, kind_of
from neurocohort.files import write_text
from neurocohort.learning.tasks import CLASSIFICATION, REGRESSION
from neurocohort.report import labels, pages, viewers
from neurocohort.report.figures import Drawing
from neurocohort.report.mosaics import shown_in_mosaic
from neurocohort.report.subjects import KINDS, REGISTRATION, STRIP, Compared, FirstTime, Strip, Viewer, named_set

OWN_TEMPLATES = Path(__file__).parent / "templates"
INDEX = "index.html"


@dataclass(frozen=True)
class _Scan:
    """What the shared template reads of a scan: its name, and its picture with what to look for."""

    scan_id: str
    mosaic: Drawing | None
    caption: str


@dataclass(frozen=True)
class _Heading:
    heading: str


@dataclass(frozen=True)
class _Prediction:
    """What the shared template reads of a prediction."""

    experiment: _Heading
    columns: list[str]
    rows: list[list[str]]
    explained: str
    part: str = ""
    rank: str = ""
    missing: tuple = ()


@dataclass(frozen=True)
class _Row:
    """A row of the list."""

    scan_id: str
    status: str
    cells: list[str]
    kinds: str
    reason: str


def write_page(folder: Path, bundle: RawScanBundle, names: Sequence[str], outcome: Outcome) -> None:
    """Write the page of a scan next to its picture, which must be there already. ``names``: the scan_ids of all scans."""
    place = names.index(outcome.scan.scan_id)
    text = _environment().get_template("applied_scan.html.j2").render(
        **_shared(bundle),
        row=_Scan(outcome.scan.scan_id, _picture(folder, outcome), _caption(outcome)),
        mosaic=mosaic_path(folder, outcome).name,
        outcome=outcome,
        before=names[place - 1] if place else None,
        after=names[place + 1] if place + 1 < len(names) else None,
        place=(place + 1, len(names)),
        experiments=[_prediction(bundle, outcome)],
        numbers=_numbers(bundle, outcome),
        viewer=_viewer(bundle, outcome),
        first_time=FirstTime(),
    )  # fmt: skip
    write_text(folder / SCANS / f"{outcome.scan.scan_id}.html", text)


def write_index(folder: Path, bundle: RawScanBundle, outcomes: Sequence[Outcome]) -> None:
    """Write the list of all scans, and the style sheet of the pages."""
    shutil.copyfile(pages.TEMPLATES / "report.css", folder / SCANS / "report.css")
    rows = [
        _Row(
            one.scan.scan_id,
            one.status,
            _cells(bundle, one) if one.predicted else [""] * len(_columns(bundle)),
            ", ".join(dict.fromkeys(flag.kind for flag in one.flags)),
            one.reason,
        )
        for one in outcomes
    ]
    text = _environment().get_template("applied_index.html.j2").render(
        **_shared(bundle),
        rows=rows,
        columns=_columns(bundle),
        predicted=sum(one.predicted for one in outcomes),
        flagged=sum(bool(one.flags) for one in outcomes),
    )  # fmt: skip
    write_text(folder / INDEX, text)


def _environment() -> Environment:
    made = pages.environment()
    made.loader = FileSystemLoader([OWN_TEMPLATES, pages.TEMPLATES])
    return made


def _shared(bundle: RawScanBundle) -> dict[str, object]:
    return {
        "study": bundle.study,
        "demo": bundle.demo,
        "native": bundle.native,
        "date": date.today().isoformat(),
        "experiment_name": bundle.experiment,
        "intended_use": bundle.intended_use,
    }


def _picture(folder: Path, outcome: Outcome) -> Drawing | None:
    path = mosaic_path(folder, outcome)
    if outcome.result is None or outcome.result.mosaic is None:
        return None
    alt = f"Slices of {outcome.scan.scan_id}: {shown_in_mosaic(outcome.result.native)}"
    with Image.open(path) as image:
        return Drawing(path.name, alt, "", *image.size)


def _caption(outcome: Outcome) -> str:
    if outcome.result is None or outcome.result.mosaic is None:
        return f"The file can't be used: {outcome.reason.rstrip('.')}."
    if outcome.result.native:
        return "an outline that leaves the body, and parts of interest that the lower rows lack."
    return "outlines that leave the edge of the brain, and a brain that is tilted or cut."


def _prediction(bundle: RawScanBundle, outcome: Outcome) -> _Prediction:
    explained = ""
    if outcome.predicted and bundle.conformal:
        what = "Of each class, the sets of" if bundle.task == CLASSIFICATION else "The intervals of"
        explained = (
            f"{what} about 95 % of new participants contain the true {'class' if bundle.task == CLASSIFICATION else 'value'}, if "
            "these are like the participants of the training cohorts."
        )
    rows = [_cells(bundle, outcome)] if outcome.predicted else []
    return _Prediction(_Heading(labels.spaced(bundle.experiment)), _columns(bundle), rows, explained, outcome.status)


def _columns(bundle: RawScanBundle) -> list[str]:
    if bundle.segments:
        return [f"{name} (ml)" for name in bundle.structures]
    own = [] if bundle.conformal is None else ["95 % set" if bundle.task == CLASSIFICATION else "95 % interval"]
    if bundle.task == REGRESSION:
        unit = labels.unit(bundle.target).strip()
        return [f"Predicted {labels.target(bundle.target)}{f' ({unit})' if unit else ''}", *own]
    several = ["Predicted class", "Its probability"]
    return [*(several if len(bundle.classes) > 2 else [f"Probability of {bundle.classes[1]}"]), *own]


def _cells(bundle: RawScanBundle, outcome: Outcome) -> list[str]:
    if bundle.segments:
        return [labels.number(outcome.volumes_ml.get(name), 1) for name in bundle.structures]
    found = outcome.prediction
    if bundle.task == REGRESSION:
        limits = (
            [labels.number(found[name], 1) for name in ("interval_low", "interval_high")] if bundle.conformal else []
        )
        interval = [" to ".join(limits)] if limits else []
        return [labels.number(found["prediction"], 1), *interval]
    own = [named_set(bundle.classes, str(found["set"]))] if bundle.conformal else []
    if len(bundle.classes) > 2:
        number = int(found["prediction"])
        return [bundle.classes[number], labels.number(found[f"probability_{number}"], 3), *own]
    return [labels.number(found["prediction"], 3), *own]


def _numbers(bundle: RawScanBundle, outcome: Outcome) -> list[tuple[str, list[Compared]]]:
    """The scan's quality numbers and volumes by kind."""
    found: dict[str, list[Compared]] = {kind: [] for kind in KINDS}
    for name, value in outcome.numbers.items():
        kind = "Registration" if name in REGISTRATION else "Volumes" if name.endswith("_ml") else "Image quality"
        found[kind].append(_compared(name, value, outcome, bundle))
    return [(kind, entries) for kind, entries in found.items() if entries]


def _compared(name: str, value: float | None, outcome: Outcome, bundle: RawScanBundle) -> Compared:
    spread, score = bundle.reference.numbers.get(name), outcome.scores.get(name)
    median = spread.median if spread else None
    decimals = labels.decimals_for([one for one in (value, median) if one is not None])
    return Compared(
        labels.quality(name),
        labels.number(value, decimals),
        labels.number(median, decimals),
        labels.number(score, 1),
        score if score is not None and abs(score) > bundle.reference.limits[kind_of(name)] else None,
        "",
        _strip(spread, value) if spread and value is not None else None,
    )


def _strip(spread: Spread, value: float) -> Strip | None:
    if not spread.highest > spread.lowest:
        return None

    def place(number: float) -> float:
        fraction = np.clip((number - spread.lowest) / (spread.highest - spread.lowest), 0, 1)
        return round(STRIP[0] + (STRIP[1] - STRIP[0]) * float(fraction), 1)

    return Strip(*STRIP, *(place(number) for number in (spread.first, spread.third, spread.median, value)))


def _viewer(bundle: RawScanBundle, outcome: Outcome) -> Viewer | None:
    """The viewer of the preprocessed scan, if there is one."""
    if outcome.result is None or outcome.result.derivatives is None:
        return None
    image = outcome.result.derivatives.preprocessed["T1w"]
    data = np.asarray(image.data, dtype=np.float32)
    return Viewer(viewers.viewer_page(data, None, image.affine), None)
