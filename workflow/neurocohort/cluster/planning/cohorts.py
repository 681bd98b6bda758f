"""How large a study's cohorts are: counted after the ingest, and before it from the user's files or published numbers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurocohort.files import read_table
from neurocohort.sources.caps_plan import plan_caps
from neurocohort.sources.local_files import anat_folders, labels_beside, matching_images, named_file, pair_of
from neurocohort.sources.sources import Source, SourceFile, needed_files, read_source, source_table, store_of
from neurocohort.sources.variables import read_scan_table
from neurocohort.study.cohorts import SYNTHETIC_FOLDER, plan_of_cohort
from neurocohort.study.published import published_file, published_stores

LOCAL_SOURCES = ("bids", "caps", "table")
SCAN_MVOXELS = {"ixi": 256 * 256 * 150 / 1e6, "oasis1": 256 * 256 * 160 / 1e6}  # of one image, in millions of voxels
FIELD_OF_VIEW_ML = {"ixi": 240 * 240 * 180 / 1e3, "oasis1": 256 * 256 * 160 / 1e3}  # of the synthetic scans
HEAD_MVOXELS = 10.0  # of a head at about 1 mm, if no image can be read
EXTRA_SCANS = {
    "ixi": 2,
    "oasis1": 2,
}  # of a synthetic cohort, in addition to one per participant: no age; repeat sessions
BYTES_A_VOXEL = 2  # of most scans, 16 bits
REMOTE = ("http://", "https://")


@dataclass(frozen=True)
class Archive:
    """A file of a public cohort.

    Args:
        file: Its row in the source's table.
        place: Its path in the study.
        addresses: Where it comes from, in order of preference: addresses or paths.
        size_bytes: Its size; 0 if it isn't known.
        made_here: Whether a rule of the study makes it (synthetic cohorts).
    """

    file: SourceFile
    place: Path
    addresses: tuple[str, ...]
    size_bytes: float
    made_here: bool

    @property
    def remote(self) -> bool:
        """Whether it is downloaded."""
        return self.addresses[0].startswith(REMOTE)

    @property
    def missing_bytes(self) -> float:
        """Bytes that are still to be downloaded."""
        if self.place.exists():
            return 0.0
        part = self.place.with_name(self.place.name + ".part")
        return max(self.size_bytes - (part.stat().st_size if part.exists() else 0), 0.0)


@dataclass(frozen=True)
class Cohort:
    """The size of a cohort.

    Args:
        name: Its name.
        settings: Its block of the configuration.
        scans: Number of scans.
        labelled: Number of scans with a label map.
        counted: Whether ingest has counted them; otherwise they are an estimate.
        scan_mvoxels: Millions of voxels of an image.
        written_mvoxels: Millions of voxels of all images that ingest writes in another format; it links or copies the others.
        archives: Files of a public cohort.
        source: The public source; None for a cohort of the user's.
    """

    name: str
    settings: dict[str, Any]
    scans: int
    labelled: int
    counted: bool
    scan_mvoxels: float
    written_mvoxels: float
    archives: tuple[Archive, ...] = ()
    source: Source | None = None

    @property
    def source_name(self) -> str:
        """ixi, oasis1, bids or table."""
        return self.settings["source"]

    @property
    def images(self) -> int:
        """Images per scan, one for each modality."""
        return len(self.settings["modalities"])

    @property
    def image_mvoxels(self) -> float:
        """Millions of voxels of all images."""
        return self.scans * self.images * self.scan_mvoxels

    @property
    def synthetic(self) -> bool:
        """Whether a rule of the study makes it."""
        return any(archive.made_here for archive in self.archives)

    def scans_with(self, variable: str) -> float:
        """Number of scans that have a value, by the source's published numbers; all scans if there are none."""
        if self.counted or self.synthetic or self.source is None or variable not in self.source.scans_with:
            return self.scans
        published = sum(file.scans or 0 for file in self.source.files.values())
        return self.scans * self.source.scans_with[variable] / published


def study_cohorts(config: dict[str, Any], directory: Path) -> list[Cohort]:
    """The cohorts of a checked configuration; relative paths start from ``directory``, the study's folder."""
    return [
        _local(name, settings, directory)
        if settings["source"] in LOCAL_SOURCES
        else _public(name, settings, config.get("synthetic", {}), directory)
        for name, settings in config["cohorts"].items()
    ]


def synthstrip_weights(config: dict[str, Any], directory: Path) -> Archive | None:
    """SynthStrip's weights, if a cohort's brain extraction needs them."""
    extracted = any(not cohort.get("skull_stripped") for cohort in config["cohorts"].values())
    if config["preprocessing"]["brain_extraction"] != "synthstrip" or not extracted:
        return None
    file = read_source(source_table("synthstrip")).files["weights"]
    addresses = file.addresses(config["preprocessing"]["weights_url"] or None)
    return Archive(file, directory / "resources" / "synthstrip" / file.name, addresses, file.estimated_bytes, False)


def published_weights(config: dict[str, Any], directory: Path) -> list[Archive]:
    """The published weights that experiments start from, once for each address."""
    stores = published_stores(config["experiments"])
    file = published_file() if stores else None
    return [
        Archive(
            file, directory / "resources" / store / file.name, file.addresses(url or None), file.estimated_bytes, False
        )
        for store, url in stores.items()
        if file
    ]


def _public(name: str, settings: dict[str, Any], synthetic: dict[str, Any], directory: Path) -> Cohort:
    """``synthetic``: the configuration's settings of synthetic cohorts, by source."""
    kind, base = settings["source"], settings["base_url"] or None
    source = read_source(source_table(kind))
    made = synthetic.get(kind) if base == f"{SYNTHETIC_FOLDER}/{kind}" else None
    folder = directory / "resources" / store_of(settings)
    keys, table = needed_files(settings, source)
    archives = []
    for file in (source.files[key] for key in (*keys, table)):
        size = 0.0 if made else _archive_bytes(base, file, directory)
        archives.append(Archive(file, folder / file.name, file.addresses(base), size, bool(made)))
    if made:
        scans = made["participants"] + EXTRA_SCANS[kind]
        scan_mvoxels = FIELD_OF_VIEW_ML[kind] / made["spacing_mm"] ** 3 / 1e3
    else:
        published = sum(source.files[key].estimated_bytes for key in keys)
        fraction = sum(archive.size_bytes for archive in archives[:-1]) / published
        scans = round(fraction * sum(source.files[key].scans or 0 for key in keys))
        scan_mvoxels = SCAN_MVOXELS[kind]
    scans, labelled, counted = _ingested(name, directory) or (scans, scans if kind == "oasis1" else 0, False)
    written = scans * scan_mvoxels if kind == "oasis1" else 0.0  # IXI's images are copied as they are
    return Cohort(name, settings, scans, labelled, counted, scan_mvoxels, written, tuple(archives), source)


def _archive_bytes(base: str | None, file: SourceFile, directory: Path) -> float:
    """The size of a file in a folder of the user's; its published size if it isn't there."""
    if base and not base.startswith(REMOTE):
        own = directory / base.removeprefix("file://") / file.name
        if own.is_file():
            return own.stat().st_size
    return file.estimated_bytes


def _local(name: str, settings: dict[str, Any], directory: Path) -> Cohort:
    path = directory / settings["path"]
    images, labelled = _files_of(path, settings)
    scans, labelled, counted = _ingested(name, directory) or (len(images), labelled, False)
    modalities = len(settings["modalities"])
    uncompressed = [image for image in images if not image.name.lower().endswith(".gz")]
    written = sum(_file_bytes(image) for image in uncompressed) / BYTES_A_VOXEL / 1e6 * modalities
    total = scans * modalities
    mvoxels = written / total if uncompressed and total else _mvoxels_of(images)
    return Cohort(name, settings, scans, labelled, counted, mvoxels, written)


def _files_of(path: Path, settings: dict[str, Any]) -> tuple[list[Path], int]:
    """The T1-weighted images of a local cohort, and how many of them have a label map."""
    if settings.get("masks"):
        plan = plan_of_cohort({**settings, "path": path})
        scans = plan.scans if plan else []
        return [scan.images["T1w"] for scan in scans], sum(scan.segmented for scan in scans)
    if settings["source"] == "table":
        return _in_table(path)
    if settings["source"] == "caps":
        return [scan.images["T1w"] for scan in plan_caps(path, run=settings["run"]).scans], 0
    return _in_bids(path, settings)


def _in_bids(path: Path, settings: dict[str, Any]) -> tuple[list[Path], int]:
    """The T1-weighted images that ingest would use, and how many of them have a label map."""
    found, labelled = [], 0
    for anat in anat_folders(path):
        images = matching_images(anat.files, settings["pattern"])
        images = images if settings["run"] == "all" else images[:1]
        found += [Path(image.path) for image in images]
        labelled += sum(labels_beside(image, anat.files) is not None for image in images)
    return found, labelled


def _in_table(path: Path) -> tuple[list[Path], int]:
    """The images of a table, and how many of them have a label map."""
    rows = read_scan_table(path).rows.values()
    images = [named_file(cell, path, None) for row in rows if (cell := row.get("path"))]
    return images, sum(bool(row.get("path_dseg")) for row in rows)


def _ingested(name: str, directory: Path) -> tuple[int, int, bool] | None:
    """The scans of an ingested cohort, and those with a label map (and True); None before the ingest."""
    table = directory / "data" / name / "scans.tsv"
    if not table.is_file():
        return None
    scans = read_table(table, required=("scan_id", "dseg_path"))
    return len(scans), int(scans["dseg_path"].notna().sum()), True


def _file_bytes(path: Path) -> int:
    """Bytes of an image's voxels (an Analyze pair's second file); 0 if it doesn't exist, which ingest will report."""
    voxels = pair_of(path)[1:2] or (path,)
    return voxels[0].stat().st_size if voxels[0].is_file() else 0


def _mvoxels_of(images: list[Path]) -> float:
    """Millions of voxels of the first readable image: most cohorts have one protocol."""
    import nibabel as nib

    for image in images[:3]:
        try:
            shape = nib.load(image).shape[:3]  # type: ignore[attr-defined]
        except Exception:  # nibabel raises many kinds for a damaged header, and ingest will report it
            continue
        return shape[0] * shape[1] * shape[2] / 1e6
    return HEAD_MVOXELS
