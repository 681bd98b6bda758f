"""The gallery of scans: each scan's mosaic, status and quality numbers, what is unusual about it, and what to do."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from neurocohort.dataset.quality_flags import SMALLEST_SITE, is_flag
from neurocohort.errors import StorageFailed
from neurocohort.imaging.derivatives import mosaic_name, scan_folder
from neurocohort.report import figures, labels, mosaics
from neurocohort.report.figures import Drawing
from neurocohort.report.mosaics import Thumbnail
from neurocohort.report.sources import Missing
from neurocohort.report.study import Cohort

IDENTITY = ("scan_id", "participant_id", "site", "status", "stage", "reason")
SHOWN_OUTLIERS = 30  # scans in the list above the gallery; the table marks all

# What the gallery has room for; each scan's page has all numbers.
NATIVE_CORE = {"foreground_ml", "foreground_cut", "voxel_min_mm", "voxel_max_mm"}
CORE = {"template_dice", "mutual_information", "mask_ml", "mask_to_template", "mask_border_cm2", "snr_wm", "cnr", "cjv"}

NOISE = "Noisy scan: look for ripples and blur of movement, and for low signal."
LOW = {  # what to look for where a number is unusually low
    "mask_ml": "Small brain mask: look for cortex outside the orange outline, or for atrophy that is real.",
    "mask_to_template": "Small brain for a scan in MNI space: look for a brain extraction that cut cortex, and for a scan that "
    "was not scaled.",
    "contrast_gm_csf": "Grey matter is little brighter than CSF: look for an image that is not T1-weighted, and for noise.",
    "contrast_wm_gm": "White matter is little brighter than grey matter: look for an image that is not T1-weighted, for "
    "atrophy and noise.",
    "template_dice": "Brain and template overlap little: look for blue outlines off the edge of the brain, tilted or shifted.",
    "mutual_information": "A poor match with the template: look for a rotation, a flip, or an image that is not T1-weighted.",
    "snr_gm": NOISE,
    "snr_wm": NOISE,
    "cnr": "Weak contrast of grey and white matter: look for movement and noise.",
    "fber": "A noisy background: look for ghosts and movement outside the head.",
    "foreground_ml": "Small foreground: look for a part of the body that is cut off, and for wrong units of intensity.",
    "symmetry": "The two halves differ: look for a tilted brain, and for a large lesion.",
}
HIGH = {  # what to look for where a number is unusually high
    "mask_ml": "Large brain mask: look for skull, eyes or neck inside the orange outline.",
    "mask_to_template": "Large brain for a scan in MNI space: look for skull inside the orange outline, and for a scan that "
    "was not scaled.",
    "template_shift_mm": "The brain is displaced from the template: look for a tilt, and for blue outlines that are shifted.",
    "outside_template": "Much lay outside the template's brain and was removed: look for eyes and skull that are left, and for "
    "a brain that is shifted or tilted.",
    "foreground_ml": "Large foreground: look for a table or a coil inside the orange outline, and for noise around the body.",
    "foreground_cut": "The study's grid cuts the foreground: look for parts of interest that the two lower rows lack.",
    "mask_border_cm2": "The brain mask ends at the border of the image or at a plain background: look for a brain that is cut "
    "off.",
    "missing_brain": "A part of the brain is missing: look for a brain that is cut off, and for empty slices.",
    "head_turn_degrees": "The head is turned: look whether the blue outlines fit, and for a wrong orientation in the header.",
    "head_stretch": "The head has unusual proportions: look for a wrong voxel spacing in the header.",
    "bias_field_cv": "A strong bias field: look for shading that is left in the two lower rows.",
    "registration_starts": "The registration needed several starts: look whether the blue outlines fit.",
    "cjv": "Tissues blend: look for movement, noise, and shading that is left.",
    "efc": "Blur or ghosts: look for copies of the head's edge outside it.",
    "inu_range": "Strong shading: look for a side of the brain that is darker in the two lower rows.",
}


@dataclass(frozen=True)
class QualityNumber:
    """A quality number of the gallery; ``core``: the gallery has room for it, each scan's page has all."""

    name: str
    label: str
    decimals: int
    core: bool


@dataclass(frozen=True)
class GalleryCell:
    """A quality number of a scan. ``z``: its robust score where it is unusual on the side of a fault, else None."""

    number: QualityNumber
    value: float | None
    z: float | None

    @property
    def text(self) -> str:
        return labels.number(self.value, self.number.decimals)


@dataclass
class GalleryRow:
    """A scan of the gallery. ``record``: its row of qc.tsv; ``page``: its own page, from the index."""

    scan_id: str
    anchor: str
    site: str
    status: str
    stage: str
    reason: str
    cells: list[GalleryCell]
    mosaic: Drawing | Missing | None
    page: str
    record: dict[str, Any]
    viewer: Missing | None = None
    native: bool = False

    @property
    def usable(self) -> bool:
        return self.status == "ok"

    @property
    def outliers(self) -> list[GalleryCell]:
        """Its unusual numbers, the most extreme first."""
        return sorted((cell for cell in self.cells if cell.z is not None), key=lambda cell: -abs(cell.z or 0))

    @property
    def worst_z(self) -> float:
        """The absolute score of its most extreme unusual number; 0 without one."""
        return max((abs(cell.z) for cell in self.cells if cell.z is not None), default=0.0)

    @property
    def caption(self) -> str:
        """What to look for in the mosaic."""
        if not self.usable:
            reason = f": {self.reason.rstrip('.')}" if self.reason else ""
            look = "Look whether that fits the picture; a" if self.mosaic else "A"
            return (
                f"Excluded{' at ' + self.stage if self.stage else ''}{reason}. {look} limit under quality that is wrong for this "
                "cohort can be moved."
            )
        if not self.outliers and self.native:
            return "No flag. If the outline leaves the body, or the lower rows lack a part of interest, change window or shape."
        if not self.outliers:
            return "No flag. If an outline leaves the edge of the brain, tighten the limit that would have caught it."
        return " ".join(map(_advice, self.outliers))


@dataclass
class Gallery:
    """The gallery of one cohort. ``measured``: how many scans have numbers."""

    cohort: str
    missing: Missing | None = None
    rows: list[GalleryRow] = field(default_factory=list)
    numbers: list[QualityNumber] = field(default_factory=list)
    overview: Drawing | None = None
    measured: int = 0

    @property
    def usable(self) -> int:
        return sum(row.usable for row in self.rows)

    @property
    def flagged(self) -> int:
        return sum(bool(row.outliers) for row in self.rows)

    @property
    def extreme(self) -> list[GalleryRow]:
        """The usable scans with an unusual number, the most extreme first."""
        unusual = [row for row in self.rows if row.usable and row.outliers]
        return sorted(unusual, key=lambda row: (-row.worst_z, row.scan_id))


def gallery(cohort: Cohort, output: Path, size: Thumbnail | None = None) -> Gallery:
    """The gallery of one cohort.

    Puts each mosaic to ``mosaics/<cohort>/<scan_id>.webp`` under ``output``. Where that is a smaller copy, the full one is at
    ``subjects/<cohort>/<scan_id>.webp``. A usable scan without its mosaic gets a red box; a scan that was excluded before a
    mosaic could be drawn gets its reason.

    Args:
        cohort: The cohort.
        output: The report's folder.
        size: Of the mosaics; None for as they are.
    """
    if isinstance(cohort.quality, Missing):
        return Gallery(cohort.name, cohort.quality)
    table = cohort.quality.sort_values("scan_id", kind="stable").reset_index(drop=True)
    names = [name for name in table.columns if name not in IDENTITY and not name.endswith("_z")]
    names = [name for name in names if pd.api.types.is_numeric_dtype(table[name]) and table[name].notna().any()]
    core = set(names) & (NATIVE_CORE if cohort.native else CORE) or set(names)
    numbers = [
        QualityNumber(name, labels.quality(name), labels.decimals_for([*table[name].dropna()]), name in core)
        for name in names
    ]
    rows = [_row(cohort, record, numbers, output, size) for record in table.to_dict("records")]
    made = Gallery(cohort.name, None, rows, numbers, measured=int(table[names].notna().any(axis=1).sum()))
    scored = [name for name in names if f"{name}_z" in table.columns and table[f"{name}_z"].notna().any()]
    if scored:
        made.overview = _overview(cohort, table, scored, made.flagged, output)
    return made


def mosaic_files(cohort: Cohort) -> list[Path]:
    """The mosaics of the cohort's scans, without those of scans that have left the cohort."""
    if isinstance(cohort.quality, Missing):
        return []
    preproc = cohort.results / "preproc"
    paths = (scan_folder(preproc, scan_id) / mosaic_name(scan_id) for scan_id in cohort.quality["scan_id"])
    return sorted(path for path in paths if path.is_file())


def _overview(cohort: Cohort, table: pd.DataFrame, scored: list[str], flagged: int, output: Path) -> Drawing:
    path = output / "figures" / f"{cohort.name}_quality.svg"
    figures.quality_overview(table, scored, path)
    scans = int(table[[f"{name}_z" for name in scored]].notna().any(axis=1).sum())
    return Drawing.of(
        path,
        f"Strip plot of the robust scores of {len(scored)} quality numbers for {scans} scans of {cohort.title}; "
        f"{labels.counted(flagged, 'scan')} with a score of {labels.OUTLIER_Z:g} or more on the side of a fault.",
        f"The {scans} scans of {cohort.title} that have numbers. Diamonds lie {labels.OUTLIER_Z:g} or more "
        "robust standard deviations from the median of their site (of the cohort, where no site is known or it has fewer "
        f"than {SMALLEST_SITE} scans), on the side where a fault of the scan would lie: low for a Dice, high for noise. "
        "Volumes have no such side. One diamond is a scan to open below; many in one strip point at scans that differ "
        "together, as those of a scanner may.",
    )


def _row(
    cohort: Cohort, record: dict[str, Any], numbers: list[QualityNumber], output: Path, size: Thumbnail | None
) -> GalleryRow:
    scan_id, status = str(record["scan_id"]), str(record["status"])
    site, stage, reason = (
        "" if pd.isna(record.get(name)) else str(record[name]) for name in ("site", "stage", "reason")
    )
    return GalleryRow(
        scan_id,
        f"scan-{cohort.name}-{scan_id}",
        site,
        status,
        stage.replace("_", " "),
        reason,
        [_cell(record, number) for number in numbers],
        _mosaic(cohort, scan_id, status != "ok", output, size),
        f"subjects/{cohort.name}/{scan_id}.html",
        record,
        native=cohort.native,
    )


def _cell(record: dict[str, Any], number: QualityNumber) -> GalleryCell:
    value, z = record[number.name], record.get(f"{number.name}_z")
    far = float(z) if labels.is_number(z) and is_flag(number.name, float(z), labels.OUTLIER_Z) else None
    return GalleryCell(number, value if labels.is_number(value) else None, far)


def _advice(outlier: GalleryCell) -> str:
    """What to look for where a number is unusual."""
    advice, side = (LOW, "low") if (outlier.z or 0) < 0 else (HIGH, "high")
    return advice.get(outlier.number.name) or f"{outlier.number.label} is unusually {side}: compare with other scans."


def _mosaic(
    cohort: Cohort, scan_id: str, excluded: bool, output: Path, size: Thumbnail | None
) -> Drawing | Missing | None:
    """Put a scan's mosaic into the report; None where an excluded scan has none."""
    what = f"the mosaic of {scan_id}"
    record = cohort.scan_record(scan_id, what)
    if isinstance(record, Missing):
        return record
    if "mosaic" not in record.files and excluded:
        return None
    source = cohort.scan_file(record, scan_id, "mosaic", mosaic_name(scan_id))
    if not source.is_file():
        return cohort.sources.lack(source, what)
    target = output / "mosaics" / cohort.name / f"{scan_id}.webp"
    try:
        measured = mosaics.place(source, target, size)
    except StorageFailed:  # the image is not at fault
        raise
    except OSError:
        target.unlink(missing_ok=True)
        return cohort.sources.lack(source, what, mosaics.UNREADABLE)
    if size:
        mosaics.link_or_copy(source, output / "subjects" / cohort.name / f"{scan_id}.webp")
    return mosaics.drawing(cohort, scan_id, "", measured)
