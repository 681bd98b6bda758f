"""The page itself: what the other modules have gathered, put into the template. Style and script stand inline, images
are relative, and every name from outside is escaped."""

from itertools import count
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from neurocohort.dataset.quality_flags import SMALLEST_COHORT, SMALLEST_SITE
from neurocohort.report import labels
from neurocohort.report.headline import BASELINE_PHRASES, beside, gain_text
from neurocohort.report.provenance import NAMED
from neurocohort.report.sources import Missing

TEMPLATES = Path(__file__).parent / "templates"
NOTES_SHOWN = 50  # of one kind and cohort; notes.tsv has all
SYMBOLS = {"pass": "✓", "warn": "≈", "fail": "✗", "missing": "!"}  # by verdict
JUDGEMENT_WORDS = {  # what a card says first, by judgement
    "better": "Better than the trivial baseline",
    "unclear": "Better, but the paired interval holds 0",
    "no interval": "Better, but without an interval",
    "no better": "No better than the trivial baseline",
    "nothing learned": "The networks learned nothing",
    "missing": "No verdict",
}


def index(*, verdicts: list[dict], provenance: dict, missing: list[Missing], **content: object) -> str:
    """The page as HTML text."""
    figure_numbers, table_numbers = count(1), count(1)
    anchored: set[str] = set()  # a missing file that two sections need is boxed in both, and anchored once
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
            script=Markup((TEMPLATES / "report.js").read_text(encoding="utf-8")),
            next_figure=lambda: next(figure_numbers),
            next_table=lambda: next(table_numbers),
            first_time=lambda item: item.anchor not in anchored and not anchored.add(item.anchor),
            named_packages=[item for item in provenance["packages"] or [] if item["name"].lower() in NAMED],
            verdicts=[_card(record) for record in verdicts],
            provenance=provenance,
            configuration=yaml.safe_dump(
                _plain(provenance["configuration"]), sort_keys=False, allow_unicode=True, width=100
            ),
            missing=missing,
            **content,
        )
    )


def environment() -> Environment:
    """The environment of every page of the report: escaping, strict, with the words and numbers of the report as filters."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.globals |= {
        "outlier_z": f"{labels.OUTLIER_Z:g}",
        "smallest_site": SMALLEST_SITE,
        "smallest_cohort": SMALLEST_COHORT,
        "notes_shown": NOTES_SHOWN,
    }
    made.tests["missing"] = lambda value: isinstance(value, Missing)
    made.filters |= {
        "number": labels.number,
        "duration": labels.duration,
        "counted": labels.counted,
        "cohort": labels.cohort,
        "spaced": labels.spaced,
        "joined": joined,
        "size": file_size,
    }
    return made


def joined(words: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    words = [str(word) for word in words]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def file_size(size: int) -> str:
    """Bytes as ``812 B``, ``12 kB``, ``3.4 MB``."""
    return f"{size} B" if size < 1000 else f"{size / 1000:.0f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"


def _plain(value: object) -> object:
    """Only what YAML writes plainly: paths and other values as their text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _card(record: dict) -> dict:
    """A verdict with everything its card shows: words, numbers as text, and the two intervals on one axis (percent)."""
    described = labels.metric(record["metric"])
    places = described.decimals
    card = {
        **record,
        "symbol": SYMBOLS[record["verdict"]],
        "words": JUDGEMENT_WORDS[record["judgement"]],
        "title": labels.spaced(record["experiment"]),
        "metric_label": described.label,
        "metric_name": described.name,
        "unit": labels.unit(record["target"]) if record["metric"] == "mae" else "",
        "text": labels.number(record["value"], places),
        "interval": labels.interval(record["ci_low"], record["ci_high"], places),
        "baseline_text": labels.number(record["baseline_value"], places),
        "baseline_interval": labels.interval(record["baseline_low"], record["baseline_high"], places),
        "baseline_phrase": BASELINE_PHRASES[record["baseline"]],
        "beside": beside(record),
        "gain_text": gain_text(record) if (record["gain"] or 0) > 0 else "",
        "better": "higher is better" if described.higher_is_better else "lower is better",
        "bars": [],
    }
    if record["verdict"] != "missing":
        card |= _bars(record)
    return card


def _bars(record: dict) -> dict:
    own = [record["value"], record["ci_low"], record["ci_high"]]
    other = [record["baseline_value"], record["baseline_low"], record["baseline_high"]]
    known = [value for value in own + other if value is not None]
    if record["metric"] == "mae":
        start, end = 0.0, max(known) * 1.05 or 1.0
    else:
        start, end = min(0.4, *known), 1.0

    def place(value: float) -> float:
        return round(100 * (value - start) / (end - start), 2)

    def bar(kind: str, values: list) -> dict:
        value, low, high = (values[0] if item is None else item for item in values)
        return {"kind": kind, "at": place(value), "left": place(low), "width": round(place(high) - place(low), 2)}

    return {
        "bars": [bar("network", own), bar("baseline", other)],
        "axis": (f"{start:.2g}", f"{end:.3g}"),
    }
