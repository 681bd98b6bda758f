"""IXI: scans of healthy volunteers from three London sites, T1-weighted and, on request, T2-, PD- and diffusion-weighted."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from neurocohort.errors import InputError, ScanExcluded
from neurocohort.notes import Kind
from neurocohort.sources import raw_bids
from neurocohort.sources.archives import Oversized, stream_members
from neurocohort.sources.columns import DIFFUSION_MAPS, MODALITY_COLUMNS, Image, IngestResult, Scan
from neurocohort.sources.data_dictionary import Entry
from neurocohort.sources.inputs import record_inputs
from neurocohort.sources.ixi_diffusion import own_files, take_series
from neurocohort.sources.ixi_table import DEMOGRAPHICS, SITES, VARIABLES, read_demographics
from neurocohort.sources.spreadsheets import PublishedTable

NAME = re.compile(r"IXI([0-9]{3})-(Guys|HH|IOP)-([0-9]{4})-(T1|T2|PD)\.nii\.gz")
MODALITY_OF = {"T1": "T1w", "T2": "T2w", "PD": "PDw"}
DESCRIPTION: Entry = {
    "Name": "IXI",
    "DatasetType": "raw",
    "License": "CC BY-SA 3.0",
    "Acknowledgements": "IXI - Information eXtraction from Images (EPSRC GR/S21533/02), brain-development.org",
    "SourceDatasets": [{"URL": "https://brain-development.org/ixi-dataset/"}],
}


class _Found(NamedTuple):
    """An image of the archives; without an ``image`` it can't be used, and ``problem`` says why."""

    name: str
    site: str
    image: Image | None = None
    problem: str = ""


Images = dict[str, dict[int, _Found]]  # by modality and IXI number
Series = dict[int, dict[str, str] | str]  # by IXI number, as `take_series` returns them


def ingest_ixi(
    archives: Sequence[Path | str], spreadsheet: Path | str, folder: Path | str, *, modalities: Sequence[str] = ("T1w",)
) -> IngestResult:
    """Turn IXI's archives and spreadsheet into the raw BIDS layout; images are copied byte for byte.

    A session is excluded if one of its images is absent or can't be read, or if the participant's two rows in the spreadsheet
    contradict each other. An image without a row, or without an age, stays with n/a. A row without an image is only noted.

    Args:
        archives: One for each modality; for FA and MD the one of the diffusion-weighted images and its two tables.
        spreadsheet: The table of the participants.
        folder: The cohort's folder.
        modalities: T1w first, then T2w, PDw, FA and MD.

    Raises:
        InputError: If an archive is damaged or has no image of a modality, or if the spreadsheet lacks a column or has an
            impossible value.
    """
    table = read_demographics(spreadsheet)
    collected = raw_bids.Ingested(Path(folder))
    for reason in table.nameless:
        collected.exclude(None, None, reason)
    for sentence in table.notes:
        collected.notes.add(Kind.VALUES, sentence)
    with_image = [modality for modality in modalities if modality not in DIFFUSION_MAPS]
    diffusion = None
    if len(with_image) < len(modalities):
        archives, diffusion = own_files(archives)
    images, others = _take_images(collected, archives, with_image, table.conflicts)
    _refuse_absent(images, archives, others)
    series: Series | None = None
    if diffusion:
        series = take_series(collected, diffusion, {one for one, found in images["T1w"].items() if found.image})
    record_inputs(collected, [spreadsheet, *(diffusion[1:] if diffusion else ())])
    wanted = " or ".join(name for name, modality in MODALITY_OF.items() if modality in modalities)
    collected.notes.add_list(
        Kind.IMAGES, others, f"file(s) in the archives are not {wanted} images by name, and are ignored"
    )
    for modality, numbered in images.items():
        if alone := sorted(numbered.keys() - images["T1w"].keys()):
            collected.notes.add(
                Kind.IMAGES,
                f"{len(alone)} {modality[:2]} image(s) have no T1 image of the same person, and are ignored.",
            )
            collected.drop_images(found.image.path for one in alone if (found := numbered[one]).image)
    for identity in sorted(images["T1w"]):
        _finish(collected, identity, images, table, series)
    rows = {*table.known, *table.conflicts}
    absent = [f"IXI{one:03d}" for one in sorted(rows - {*images["T1w"]})]
    collected.notes.add_list(
        Kind.SESSIONS, absent, f"of the {len(rows)} people in the spreadsheet have no T1 image in the archives"
    )
    return raw_bids.write_tables(
        collected, VARIABLES, DESCRIPTION, ("age", "sex", "site", "scanner", *DEMOGRAPHICS[2:])
    )


def _take_images(
    collected: raw_bids.Ingested, archives: Sequence[Path | str], modalities: Sequence[str], conflicts: dict[int, str]
) -> tuple[Images, list[str]]:
    """Write the archives' images. Returns them and the names of all other members."""
    images: Images = {modality: {} for modality in modalities}
    others: list[str] = []
    for archive in archives:
        for name, content in stream_members(archive, lambda name: _modality(name) in modalities, collected.inputs):
            if content is None or not (match := _match(name)):
                others.append(name)
                continue
            identity, site, modality = int(match[1]), match[2], MODALITY_OF[match[4]]
            if first := images[modality].get(identity):
                collected.notes.add(
                    Kind.IMAGES,
                    f"{Path(archive).name}: {name} is a second {modality[:2]} image after {first.name}; it is ignored.",
                )
            elif identity in conflicts:
                images[modality][identity] = _Found(name, site)
            else:
                images[modality][identity] = _write(collected, identity, modality, _Found(name, site), content)
    return images, others


def _write(
    collected: raw_bids.Ingested, identity: int, modality: str, found: _Found, content: bytes | Oversized
) -> _Found:
    if isinstance(content, Oversized):
        return found._replace(problem=str(content))
    try:
        voxels_sha256 = raw_bids.check_nifti(content)
    except ScanExcluded as exclusion:
        return found._replace(problem=exclusion.reason)
    participant_id, scan_id = _identity(identity)
    path = f"{participant_id}/ses-1/anat/{scan_id}_{modality}.nii.gz"
    return found._replace(image=Image(path, collected.write_image(path, content), voxels_sha256))


def _refuse_absent(images: Images, archives: Sequence[Path | str], others: list[str]) -> None:
    """Raise InputError for a modality without images."""
    for modality, numbered in images.items():
        if not numbered:
            where = ", ".join(str(archive) for archive in archives) or "the archives (none are given)"
            short = next(key for key, value in MODALITY_OF.items() if value == modality)
            raise InputError(
                f"No member of {where} has a name like IXI012-HH-1211-{short}.nii.gz (found: "
                f"{', '.join(others[:3]) or 'nothing'}); IXI-{short}.tar is expected."
            )


def _finish(
    collected: raw_bids.Ingested, identity: int, images: Images, table: PublishedTable[int], series: Series | None
) -> None:
    """Make a scan or an exclusion of one session. ``series``: the diffusion-weighted images, if they are wanted."""
    participant_id, scan_id = _identity(identity)
    found = {modality: numbered.get(identity) for modality, numbered in images.items()}
    taken = {modality: one.image for modality, one in found.items() if one and one.image}
    t1w = images["T1w"][identity]
    reason = table.conflicts.get(identity) or t1w.problem
    if not reason and (lacking := next((modality for modality in found if modality not in taken), None)):
        absent = found[lacking]
        reason = f"{lacking[:2]}: {absent.problem if absent else 'The archives have no image of this participant.'}"
    own = {} if series is None else series.get(identity, "The archives have no image of this participant.")
    if not reason and isinstance(own, str):
        reason = f"DTI: {own}"
    diffusion = {} if isinstance(own, str) else own
    if reason:
        collected.exclude(participant_id, scan_id, reason)
        collected.drop_images([*(image.path for image in taken.values()), *diffusion.values()])
        return
    files = {MODALITY_COLUMNS[modality]: image.path for modality, image in taken.items() if modality != "T1w"}
    files |= diffusion
    variables = {"site": t1w.site, "scanner": SITES[t1w.site][1]} | table.known.get(identity, {})
    collected.scans[scan_id] = Scan(participant_id, "ses-1", scan_id, taken["T1w"], files, variables)


def _match(name: str) -> re.Match | None:
    return NAME.fullmatch(PurePosixPath(name).name)


def _modality(name: str) -> str | None:
    match = _match(name)
    return MODALITY_OF[match[4]] if match else None


def _identity(identity: int) -> tuple[str, str]:
    """participant_id and scan_id of IXI 12: sub-IXI012, sub-IXI012_ses-1."""
    participant_id = f"sub-IXI{identity:03d}"
    return participant_id, f"{participant_id}_ses-1"
