"""How large a study's cohorts are: counted where that can be, and estimated where their scans are known after ingest alone."""

from dataclasses import dataclass
from pathlib import Path

from neurocohort.files import read_table
from neurocohort.sources.local_files import anat_folders, labels_beside, matching_images, named_file, pair_of
from neurocohort.sources.sources import Source, SourceFile, needed_files, read_source, source_table, store_of
from neurocohort.sources.variables import read_scan_table
from neurocohort.study.cohorts import SYNTHETIC_FOLDER

LOCAL_SOURCES = ("bids", "table")
SCAN_MVOXELS = {"ixi": 256 * 256 * 150 / 1e6, "oasis1": 256 * 256 * 160 / 1e6}  # of one image, in millions of voxels
FIELD_OF_VIEW_ML = {"ixi": 240 * 240 * 180 / 1e3, "oasis1": 256 * 256 * 160 / 1e3}  # of the synthetic scans
HEAD_MVOXELS = 10.0  # of a head at about 1 mm, where no image can be looked at
EXTRA_SCANS = {
    "ixi": 2,
    "oasis1": 2,
}  # of a synthetic cohort, beside one a participant: without an age; repeat sessions
BYTES_A_VOXEL = 2  # of the usual scan, 16 bits


@dataclass(frozen=True)
class Archive:
    """A file of a public cohort: where it lies once it is here, and the addresses that it comes from (a folder's path too)."""

    file: SourceFile
    place: Path
    addresses: tuple[str, ...]
    size_bytes: float
    made_here: bool  # by the rule that makes a synthetic cohort

    @property
    def remote(self) -> bool:
        return self.addresses[0].startswith(("http://", "https://"))

    @property
    def missing_bytes(self) -> float:
        """What is still to be fetched."""
        if self.place.exists():
            return 0.0
        part = self.place.with_name(self.place.name + ".part")
        return max(self.size_bytes - (part.stat().st_size if part.exists() else 0), 0.0)


@dataclass(frozen=True)
class Cohort:
    """``scans``: as many as ingest found where ``counted``, else an estimate; ``labelled``: those with a label map.
    ``scan_mvoxels``: millions of voxels of an image. ``images``: of a session. ``written_mvoxels``: those that ingest writes
    anew, and does not link or copy from an archive."""

    name: str
    settings: dict
    scans: int
    counted: bool
    labelled: int
    scan_mvoxels: float
    written_mvoxels: float
    archives: tuple[Archive, ...]
    source: Source | None

    @property
    def images(self) -> int:
        return len(self.settings["modalities"])

    @property
    def synthetic(self) -> bool:
        return any(archive.made_here for archive in self.archives)

    def scans_with(self, variable: str) -> float:
        """How many of the scans have a value, as far as the source's table tells; all of them where it says nothing."""
        if self.counted or self.synthetic or self.source is None or variable not in self.source.scans_with:
            return self.scans
        published = sum(file.scans or 0 for file in self.source.files.values())
        return self.scans * self.source.scans_with[variable] / published


def study_cohorts(config: dict, directory: Path) -> list[Cohort]:
    """The cohorts of a checked configuration; relative paths start from ``directory``, the study's folder."""
    return [
        (_local if settings["source"] in LOCAL_SOURCES else _public)(name, settings, config, directory)
        for name, settings in config["cohorts"].items()
    ]


def synthstrip_weights(config: dict, directory: Path) -> Archive | None:
    """SynthStrip's weights, where a cohort's brain extraction needs them."""
    extracted = any(not cohort.get("skull_stripped") for cohort in config["cohorts"].values())
    if config["preprocessing"]["brain_extraction"] != "synthstrip" or not extracted:
        return None
    file = read_source(source_table("synthstrip")).files["weights"]
    place = directory / "resources" / "synthstrip" / file.name
    return Archive(
        file, place, file.addresses(config["preprocessing"]["weights_url"] or None), file.estimated_bytes, False
    )


def _public(name: str, settings: dict, config: dict, directory: Path) -> Cohort:
    kind, base = settings["source"], settings["base_url"] or None
    source = read_source(source_table(kind))
    made = config.get("synthetic", {}).get(kind) if base == f"{SYNTHETIC_FOLDER}/{kind}" else None
    folder = directory / "resources" / store_of(settings)
    keys, table = needed_files(settings, source)
    archives = []
    for key in (*keys, table):
        file = source.files[key]
        size = 0.0 if made else _size_at(base, file, directory)
        archives.append(Archive(file, folder / file.name, file.addresses(base), size, bool(made)))
    if made:
        scans = made["participants"] + EXTRA_SCANS[kind]
        scan_mvoxels = FIELD_OF_VIEW_ML[kind] / made["spacing_mm"] ** 3 / 1e3
    else:
        published = sum(source.files[key].estimated_bytes for key in keys)
        share = sum(archive.size_bytes for archive in archives[:-1]) / published
        scans = round(share * sum(source.files[key].scans or 0 for key in keys))
        scan_mvoxels = SCAN_MVOXELS[kind]
    scans, labelled, counted = _counted(name, directory) or (scans, scans if kind == "oasis1" else 0, False)
    written = scans * scan_mvoxels if kind == "oasis1" else 0.0  # IXI's images are copied as they are
    return Cohort(name, settings, scans, counted, labelled, scan_mvoxels, written, tuple(archives), source)


def _size_at(base: str | None, file: SourceFile, directory: Path) -> float:
    """The bytes of a file in a folder of one's own, where it can be looked at; what is published of it otherwise."""
    if base and not base.startswith(("http://", "https://")):
        own = directory / base.removeprefix("file://") / file.name
        if own.is_file():
            return own.stat().st_size
    return file.estimated_bytes


def _local(name: str, settings: dict, config: dict, directory: Path) -> Cohort:
    path = directory / settings["path"]
    images, labelled = _in_bids(path, settings) if settings["source"] == "bids" else _in_table(path)
    scans, labelled, counted = _counted(name, directory) or (len(images), labelled, False)
    total = scans * len(settings["modalities"])
    unpacked = [image for image in images if not image.name.lower().endswith(".gz")]
    written = sum(_file_size(image) for image in unpacked) / BYTES_A_VOXEL / 1e6 * len(settings["modalities"])
    mvoxels = written / total if unpacked and total else _mvoxels_of(images)
    return Cohort(name, settings, scans, counted, labelled, mvoxels, written, (), None)


def _in_bids(path: Path, settings: dict) -> tuple[list[Path], int]:
    """The T1-weighted images that ingest would take, and how many of them have a label map."""
    found, labelled = [], 0
    for anat in anat_folders(path):
        images = matching_images(anat.files, settings["pattern"])
        images = images if settings["run"] == "all" else images[:1]
        found += [Path(image.path) for image in images]
        labelled += sum(labels_beside(image, anat.files) is not None for image in images)
    return found, labelled


def _in_table(path: Path) -> tuple[list[Path], int]:
    rows = read_scan_table(path).rows.values()
    images = [named_file(row["path"], path, None) for row in rows if row.get("path")]
    return images, sum(bool(row.get("path_dseg")) for row in rows)


def _counted(name: str, directory: Path) -> tuple[int, int, bool] | None:
    """The scans that ingest left, and those with labels; None before it has run."""
    table = directory / "data" / name / "scans.tsv"
    if not table.is_file():
        return None
    scans = read_table(table, required=("scan_id", "dseg_path"))
    return len(scans), int(scans["dseg_path"].notna().sum()), True


def _file_size(path: Path) -> int:
    """Of an Analyze pair the voxels count; a file that isn't there is an exclusion later, and nothing now."""
    voxels = pair_of(path)[1:2] or (path,)
    return voxels[0].stat().st_size if voxels[0].is_file() else 0


def _mvoxels_of(images: list[Path]) -> float:
    """Of the first image that can be read: cohorts are mostly of one protocol."""
    import nibabel as nib

    for image in images[:3]:
        try:
            shape = nib.load(image).shape[:3]
        except Exception:  # nibabel raises many kinds on a damaged header, and ingest will tell
            continue
        return shape[0] * shape[1] * shape[2] / 1e6
    return HEAD_MVOXELS
