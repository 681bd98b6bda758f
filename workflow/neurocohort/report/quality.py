"""The gallery of scans: each scan's mosaic, status and quality numbers, what is unusual about it, and what to do."""

from pathlib import Path

import pandas as pd

from neurocohort.dataset.quality_flags import SMALLEST_SITE, is_flag
from neurocohort.errors import StorageFailed
from neurocohort.files import read_table
from neurocohort.imaging.derivatives import mosaic_name, qc_path, scan_folder
from neurocohort.report import figures, labels, mosaics
from neurocohort.report.figures import Drawing
from neurocohort.report.mosaics import Thumbnail
from neurocohort.report.sources import Missing, Sources

IDENTITY = ("scan_id", "participant_id", "site", "status", "stage", "reason")
SHOWN_OUTLIERS = 30  # the list above the gallery names the most extreme ones; the table marks them all

# What the gallery has room for; each scan's page has all numbers.
CORE = {"template_dice", "mutual_information", "mask_ml", "mask_to_template", "mask_border_cm2", "snr_wm", "cnr", "cjv"}

NOISE = "Noisy scan: look for ripples and blur of movement, and for low signal."
ADVICE = {  # by number, what to look for when it is unusually (low, high); None where that is no fault
    "mask_ml": (
        "Small brain mask: look for cortex outside the orange outline, or for atrophy that is real.",
        "Large brain mask: look for skull, eyes or neck inside the orange outline.",
    ),
    "mask_to_template": (
        "Small brain for a scan in MNI space: look for a strip that cut cortex, and for a scan that was not scaled.",
        "Large brain for a scan in MNI space: look for skull inside the orange outline, and for a scan that was not scaled.",
    ),
    "template_shift_mm": (
        None,
        "The brain lies off the template: look for a tilt, and for blue outlines that are shifted.",
    ),
    "outside_template": (
        None,
        "Much lay outside the template's brain and was removed: look for eyes and skull that the strip left, and for a brain "
        "that is shifted or tilted.",
    ),
    "mask_border_cm2": (
        None,
        "The brain mask ends at the border of the image or at a plain background: look for a brain that is cut off.",
    ),
    "missing_brain": (
        None,
        "A part of the brain is missing: look for a brain that is cut off, and for empty slices.",
    ),
    "contrast_gm_csf": (
        "Grey matter is little brighter than CSF: look for an image that is not T1-weighted, and for noise.",
        None,
    ),
    "contrast_wm_gm": (
        "White matter is little brighter than grey matter: look for an image that is not T1-weighted, for atrophy and noise.",
        None,
    ),
    "head_turn_degrees": (
        None,
        "The head lies turned: look whether the blue outlines fit, and for a wrong orientation in the header.",
    ),
    "head_stretch": (
        None,
        "The head has unusual proportions: look for a wrong voxel spacing in the header.",
    ),
    "bias_field_cv": (
        None,
        "A strong bias field: look for shading that is left in the two lower rows.",
    ),
    "template_dice": (
        "Brain and template overlap little: look for blue outlines off the edge of the brain, tilted or shifted.",
        None,
    ),
    "mutual_information": (
        "A poor match with the template: look for a rotation, a flip, or an image that is not T1-weighted.",
        None,
    ),
    "registration_starts": (
        None,
        "The registration needed several starts: look whether the blue outlines fit.",
    ),
    "snr_gm": (NOISE, None),
    "snr_wm": (NOISE, None),
    "cnr": ("Weak contrast of grey and white matter: look for movement and noise.", None),
    "cjv": (None, "Tissues blend: look for movement, noise, and shading that is left."),
    "efc": (None, "Blur or ghosts: look for copies of the head's edge outside it."),
    "fber": ("A noisy background: look for ghosts and movement outside the head.", None),
    "inu_range": (
        None,
        "Strong shading: look for a side of the brain that is darker in the two lower rows.",
    ),
    "symmetry": (
        "The two halves differ: look for a tilted brain, and for a large lesion.",
        None,
    ),
}


def gallery(sources: Sources, results: Path, cohort: str, output: Path, size: Thumbnail | None = None) -> dict:
    """The gallery of one cohort: columns, rows, the scans that are most unusual on the side of a fault, and an
    overview figure.

    Puts each mosaic to ``mosaics/<cohort>/<scan_id>.webp`` under ``output``, in ``size`` or as it is; where it was made
    smaller, the full one lies at ``subjects/<cohort>/<scan_id>.webp``. A usable scan without its mosaic gets a red box; a
    scan that was excluded before a mosaic could be drawn gets its reason.

    Each row names the scan's page, ``subjects/<cohort>/<scan_id>.html``, which is made later, and holds the scan's row of
    the quality table as ``record``.
    """
    path = results / cohort / "qc.tsv"
    table = sources.table(path, f"the quality table of {labels.cohort(cohort)}", ("scan_id", "status"))
    if isinstance(table, Missing):
        return {"cohort": cohort, "missing": table, "rows": [], "columns": []}
    table = table.sort_values("scan_id", kind="stable").reset_index(drop=True)
    metrics = [name for name in table.columns if name not in IDENTITY and not name.endswith("_z")]
    metrics = [name for name in metrics if pd.api.types.is_numeric_dtype(table[name]) and table[name].notna().any()]
    scored = [name for name in metrics if f"{name}_z" in table.columns and table[f"{name}_z"].notna().any()]
    places = {name: labels.decimals_for([float(value) for value in table[name].dropna()]) for name in metrics}
    core = set(metrics) & CORE or set(metrics)
    rows = [_row(sources, results, cohort, record, places, core, output, size) for record in table.to_dict("records")]
    overview = None
    if scored:
        drawn = output / "figures" / f"{cohort}_quality.svg"
        figures.quality_overview(table, scored, drawn)
        flagged = sum(1 for row in rows if row["outliers"])
        drawn_scans = int(table[[f"{name}_z" for name in scored]].notna().any(axis=1).sum())
        overview = Drawing.of(
            drawn,
            f"Strip plot of the robust scores of {len(scored)} quality numbers for {drawn_scans} scans of "
            f"{labels.cohort(cohort)}; {labels.counted(flagged, 'scan')} with a score of {labels.OUTLIER_Z:g} or more "
            "on the side of a fault.",
            f"The {drawn_scans} scans of {labels.cohort(cohort)} that have numbers. Diamonds lie {labels.OUTLIER_Z:g} or more "
            "robust standard deviations from the median of their site (of the cohort, where no site is known or it has fewer "
            f"than {SMALLEST_SITE} scans), on the side where a fault of the scan would lie: low for a Dice, high for noise. "
            "Volumes have no such side. One diamond is a scan to open below; many in one strip point at scans that differ "
            "together, as those of a scanner may.",
        )
    extreme = []  # of each usable scan, the worst of its numbers
    for row in rows:
        if row["outliers"] and row["status"] == "ok":
            extreme.append((row["scan_id"], row["anchor"], max(row["outliers"], key=lambda found: abs(found["z"]))))
    extreme.sort(key=lambda item: (-abs(item[2]["z"]), item[0]))
    return {
        "cohort": cohort,
        "missing": None,
        "columns": [{"name": name, "label": labels.quality(name), "core": name in core} for name in metrics],
        "rows": rows,
        "overview": overview,
        "measured": int(table[metrics].notna().any(axis=1).sum()),
        "extreme": extreme[:SHOWN_OUTLIERS],
        "left_out": max(0, len(extreme) - SHOWN_OUTLIERS),
        "usable": sum(row["status"] == "ok" for row in rows),
        "flagged": sum(bool(row["outliers"]) for row in rows),
    }


def _row(
    sources: Sources,
    results: Path,
    cohort: str,
    record: dict,
    places: dict[str, int],
    core: set[str],
    output: Path,
    size: Thumbnail | None,
) -> dict:
    outliers = []
    cells = []
    for name, decimals in places.items():
        z = record.get(f"{name}_z")
        far = labels.is_number(z) and is_flag(name, float(z), labels.OUTLIER_Z)
        if far:
            outliers.append({"metric": name, "label": labels.quality(name), "z": float(z)})
        cells.append(
            {
                "value": record[name] if labels.is_number(record[name]) else None,
                "text": labels.number(record[name], decimals),
                "z": float(z) if far else None,
                "label": labels.quality(name),
                "core": name in core,
            }
        )
    scan_id = str(record["scan_id"])
    excluded = record["status"] != "ok"
    stage = "" if pd.isna(record.get("stage")) else str(record["stage"]).replace("_", " ")
    reason = "" if pd.isna(record.get("reason")) else str(record["reason"])
    mosaic = _mosaic(sources, results, cohort, scan_id, excluded, output, size)
    return {
        "scan_id": scan_id,
        "anchor": f"scan-{cohort}-{scan_id}",
        "site": "" if pd.isna(record.get("site")) else str(record.get("site")),
        "status": str(record["status"]),
        "cells": cells,
        "outliers": outliers,
        "stage": stage,
        "reason": reason,
        "mosaic": mosaic,
        "caption": _caption(excluded, stage, reason, outliers, mosaic is not None),
        "page": f"subjects/{cohort}/{scan_id}.html",
        "record": record,
        "viewer": None,
    }


def _caption(excluded: bool, stage: str, reason: str, outliers: list[dict], pictured: bool) -> str:
    if excluded:
        told = f"Excluded{' at ' + stage if stage else ''}{': ' + reason.rstrip('.') if reason else ''}."
        picture = "Look whether that fits the picture; a" if pictured else "A"
        return f"{told} {picture} limit under quality that is wrong for this cohort can be moved."
    if not outliers:
        return "No flag. If an outline leaves the edge of the brain, tighten the limit that would have caught it."
    advice = []
    for found in sorted(outliers, key=lambda item: -abs(item["z"])):
        side = 0 if found["z"] < 0 else 1
        known = ADVICE.get(found["metric"])
        direction = ("low", "high")[side]
        advice.append(known[side] if known else f"{found['label']} is unusually {direction}: compare with other scans.")
    return " ".join(advice)


def mosaic_files(results: Path, cohort: str) -> list[Path]:
    """The mosaics of the cohort's scans; those of scans that have left the cohort may lie beside them."""
    table = results / cohort / "qc.tsv"
    scan_ids = read_table(table, required=("scan_id",))["scan_id"] if table.is_file() else ()
    preproc = results / cohort / "preproc"
    paths = (scan_folder(preproc, scan_id) / mosaic_name(scan_id) for scan_id in scan_ids)
    return sorted(path for path in paths if path.is_file())


def _mosaic(
    sources: Sources, results: Path, cohort: str, scan_id: str, excluded: bool, output: Path, size: Thumbnail | None
) -> Drawing | Missing | None:
    preproc = results / cohort / "preproc"
    what = f"the mosaic of {scan_id}"
    record = sources.record(qc_path(preproc, scan_id), what)
    if isinstance(record, Missing):
        return record
    listed = (record.get("outputs") or {}).get("mosaic")
    if listed is None and excluded:
        return None
    source = scan_folder(preproc, scan_id) / (Path(listed["file"]).name if listed else mosaic_name(scan_id))
    if not source.is_file():
        return sources.lack(source, what)
    target = output / "mosaics" / cohort / f"{scan_id}.webp"
    try:
        width, height = mosaics.place(source, target, size)
    except StorageFailed:  # no fault of the image
        raise
    except OSError:
        target.unlink(missing_ok=True)
        return sources.lack(source, what, "The file is not an image that can be read.")
    if size:
        mosaics.link_or_copy(source, output / "subjects" / cohort / f"{scan_id}.webp")
    return Drawing(
        f"mosaics/{cohort}/{target.name}",
        f"Slices of {scan_id}: the scan with its brain mask, and the registered brain with the template's outlines",
        "",
        width,
        height,
    )
