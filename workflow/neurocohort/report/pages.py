"""The page: the parts that the other modules gathered, rendered with the templates. Style and script are inline, images are
relative, and every name from outside is escaped."""

from itertools import count
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from neurocohort.dataset.quality_flags import SMALLEST_COHORT, SMALLEST_SITE
from neurocohort.report import labels
from neurocohort.report.provenance import Provenance
from neurocohort.report.quality import SHOWN_OUTLIERS
from neurocohort.report.sources import Missing
from neurocohort.report.subjects import FirstTime
from neurocohort.text import listed

TEMPLATES = Path(__file__).parent / "templates"
NOTES_SHOWN = 50  # of one kind and cohort; notes.tsv has all


def index(*, provenance: Provenance, **content: object) -> str:
    """The page as HTML."""
    figure_numbers, table_numbers = count(1), count(1)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
            script=Markup((TEMPLATES / "report.js").read_text(encoding="utf-8")),
            next_figure=lambda: next(figure_numbers),
            next_table=lambda: next(table_numbers),
            first_time=FirstTime(),
            provenance=provenance,
            configuration=yaml.safe_dump(
                provenance.as_json()["configuration"], sort_keys=False, allow_unicode=True, width=100
            ),
            **content,
        )
    )


def environment() -> Environment:
    """The environment of every template of the report: escaping, strict, with the report's words and numbers as filters."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.globals |= {
        "outlier_z": f"{labels.OUTLIER_Z:g}",
        "smallest_site": SMALLEST_SITE,
        "smallest_cohort": SMALLEST_COHORT,
        "notes_shown": NOTES_SHOWN,
        "shown_outliers": SHOWN_OUTLIERS,
    }
    made.tests["missing"] = lambda value: isinstance(value, Missing)
    made.filters |= {
        "number": labels.number,
        "duration": labels.duration,
        "counted": labels.counted,
        "cohort": labels.cohort,
        "spaced": labels.spaced,
        "joined": listed,
        "size": file_size,
    }
    return made


def file_size(size: int) -> str:
    """Bytes as ``812 B``, ``12 kB``, ``3.4 MB``."""
    return f"{size} B" if size < 1000 else f"{size / 1000:.0f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"
