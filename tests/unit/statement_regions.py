"""What the report says about the importance of regions, from made-up tables."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import pandas as pd
from neurocohort.evaluation.regions import NOT_EVALUATED, TOO_FEW_PEOPLE
from neurocohort.evaluation.rows import RegionRow, table_of
from neurocohort.files import write_json, write_table
from neurocohort.report.formats import RegionAgreement, RegionRecord
from neurocohort.report.part import Content
from neurocohort.report.regions import regions
from statement_study import Scenario

LIMITS = ("change", "share", "random", "minus_random", "error_change", "minus_permuted")


def made(*, above: bool = True, error: bool = True, permuted: bool | None = None, people: int = 12) -> pd.DataFrame:
    """Two regions, of which the first is important, and one that is too small."""
    rows = []
    for number, share in enumerate((0.7, 0.3), start=1):
        first = number == 1
        values = {"change": share, "change_per_ml": share / 10, "share": share, "random_share": 0.5}
        values |= {"error_change": 0.4 if first else 0.0, "minus_random": share - 0.5}
        if permuted is not None:
            values |= {"permuted_share": 0.5, "minus_permuted": share - 0.5}
        width = {"minus_random": 0.1 if above else 0.4, "error_change": 0.1 if error else 0.9}
        width["minus_permuted"] = 0.1 if permuted else 0.4
        for name in LIMITS if people > 2 else ():
            middle = values.get({"random": "random_share"}.get(name, name), np.nan)
            values |= {f"{name}_low": middle - width.get(name, 0.1), f"{name}_high": middle + width.get(name, 0.1)}
        note = "" if people > 2 else TOO_FEW_PEOPLE
        rows.append(RegionRow(number, f"region {number}", 40, 10.0, n=people, note=note, **values))
    rows.append(RegionRow(3, "tiny", 2, 0.1, note=NOT_EVALUATED.format(20)))
    return table_of(rows, RegionRow)


def record(**own: object) -> RegionRecord:
    about = {"atlas": "blocks", "scans": 14, "participants": 12, "regions": 2, "not_evaluated": 1, "random_networks": 5}
    agreement = RegionAgreement(value=0.8, low=0.6, high=0.9, pairs=3)
    return RegionRecord(**about | {"agreement": agreement, "random_agreement": agreement} | own)


def said(table: pd.DataFrame | None, found: RegionRecord | None, task: str = "regression") -> list[str]:
    experiment = SimpleNamespace(regions=table, region_record=found, task=task)
    with TemporaryDirectory() as folder:
        part = SimpleNamespace(experiment=experiment, unit=" years", figure=lambda kind: Path(folder) / f"{kind}.svg")
        content = Content()
        regions(part, content)
    texts = [text for one in content.figures for text in (one.alt, one.caption)]
    return [*content.sentences, *texts, *(text for one in content.details for text in (one.caption, one.summary))]


def _asked(**own: object) -> Callable[[Scenario], None]:
    def change(scenario: Scenario) -> None:
        scenario.config["saliency"]["regions"] = {"scans": 100, "random_networks": 5, "min_voxels": 20}
        for name in ("brain_age", "dementia"):
            write_table(scenario.folder(name) / "regions.tsv", made())
            write_json(scenario.folder(name) / "regions.json", record(**own).model_dump())

    return change


NONE = RegionAgreement()
REGION_PIECES: dict[str, Callable[[], list[str]]] = {
    "regions_above": lambda: said(made(permuted=True), record(permuted_networks=3)),
    "regions_not_above": lambda: said(
        made(above=False, error=False, permuted=False),
        record(permuted_networks=3, not_evaluated=0, atlas="mine.nii.gz"),
    ),
    "regions_of_one_network": lambda: said(made(), record(agreement=NONE, random_agreement=NONE), "classification"),
    "regions_of_two_people": lambda: said(
        made(people=2), record(agreement=NONE, random_agreement=NONE, participants=2)
    ),
    "regions_not_asked": lambda: said(None, None),
}
REGION_OPTIONS: dict[str, Callable[[Scenario], None]] = {
    "regions": _asked(),
    "regions beside permuted targets": _asked(permuted_networks=3, atlas="mine.nii.gz"),
}
