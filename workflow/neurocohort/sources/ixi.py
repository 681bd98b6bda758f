"""IXI: scans of healthy volunteers from three London sites, T1-weighted and, on request, T2- and PD-weighted."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from neurocohort.errors import InputError, ScanExcluded
from neurocohort.notes import Kind
from neurocohort.sources import raw_bids
from neurocohort.sources.archives import Oversized, stream_members
from neurocohort.sources.inputs import record_inputs
from neurocohort.sources.ixi_table import DEMOGRAPHICS, SITES, VARIABLES, read_demographics

NAME = re.compile(r"IXI([0-9]{3})-(Guys|HH|IOP)-([0-9]{4})-(T1|T2|PD)\.nii\.gz")
MODALITY_OF = {"T1": "T1w", "T2": "T2w", "PD": "PDw"}
DESCRIPTION = {
    "Name": "IXI",
    "DatasetType": "raw",
    "License": "CC BY-SA 3.0",
    "Acknowledgements": "IXI - Information eXtraction from Images (EPSRC GR/S21533/02), brain-development.org",
    "SourceDatasets": [{"URL": "https://brain-development.org/ixi-dataset/"}],
}


def ingest_ixi(
    archives: Sequence[Path | str],
    spreadsheet: Path | str,
    folder: Path | str,
    *,
    modalities: tuple[str, ...] = ("T1w",),
) -> dict:
    """Turn IXI's archives (one a modality) and spreadsheet into the raw BIDS layout under ``folder``.

    Images are copied byte for byte. An image that can't be read, and every image of a participant whose two rows in
    the spreadsheet contradict each other, becomes a row of ``exclusions.tsv``; so does a session without one of the
    ``modalities`` (T1w first, then T2w and PDw). An image without a row in the spreadsheet, or without an age, stays with
    n/a. A row without an image is no scan and is only counted in the notes.

    Returns the numbers of scans, participants, excluded rows and the notes. Raises InputError where an archive is
    damaged or holds no image of a modality, and where the spreadsheet lacks a column or has a cell of the wrong kind.
    """
    people, conflicts, nameless, notes = read_demographics(spreadsheet)
    collected = raw_bids.Ingested(Path(folder))
    for reason in nameless:
        collected.exclude(None, None, reason)
    for sentence in notes:
        collected.note(sentence, Kind.VALUES)
    images, others = _take_images(collected, archives, modalities, conflicts)
    record_inputs(collected, [spreadsheet])
    for modality in modalities:
        if not images[modality]:
            where = ", ".join(str(archive) for archive in archives) or "the archives (none are given)"
            short = next(key for key, value in MODALITY_OF.items() if value == modality)
            raise InputError(
                f"No member of {where} has a name like IXI012-HH-1211-{short}.nii.gz (found: "
                f"{', '.join(others[:3]) or 'nothing'}); IXI-{short}.tar is expected."
            )
    if others:
        wanted = " or ".join(name for name, modality in MODALITY_OF.items() if modality in modalities)
        collected.note(
            f"{len(others)} file(s) in the archives are not {wanted} images by name, and are ignored: {_few(others)}.",
            Kind.IMAGES,
        )
    for modality, numbered in images.items():
        if alone := sorted(numbered.keys() - images["T1w"].keys()):
            collected.note(
                f"{len(alone)} {modality[:2]} image(s) have no T1 image beside them, and are ignored.", Kind.IMAGES
            )
            collected.drop_images(numbered[identity].get("path") for identity in alone)
    for identity in sorted(images["T1w"]):
        _finish(collected, identity, images, people, conflicts)
    if unpictured := sorted({*people, *conflicts} - {*images["T1w"]}):
        collected.note(
            f"{len(unpictured)} of the {len(people) + len(conflicts)} people in the spreadsheet have no T1 image in "
            f"the archives: {_few([f'IXI{one:03d}' for one in unpictured])}.",
            Kind.SESSIONS,
        )
    return raw_bids.write_tables(
        collected, VARIABLES, DESCRIPTION, ("age", "sex", "site", "scanner", *DEMOGRAPHICS[2:])
    )


def _take_images(
    collected: raw_bids.Ingested, archives: Sequence[Path | str], modalities: tuple[str, ...], conflicts: dict
) -> tuple[dict[str, dict[int, dict]], list[str]]:
    """Write the archives' images. Returns what is known of each, by modality and IXI number, and the other members' names.

    An image that can't be read has a ``problem`` in the place of its path and hashes.
    """
    images: dict[str, dict[int, dict]] = {modality: {} for modality in modalities}
    others: list[str] = []
    for archive in archives:
        for name, content in stream_members(archive, lambda name: _modality(name) in modalities, collected.inputs):
            if content is None:
                others.append(name)
                continue
            identity, site, modality = int(_match(name)[1]), _match(name)[2], _modality(name)
            if identity in images[modality]:
                collected.note(
                    f"{Path(archive).name}: {name} is a second {modality[:2]} image after "
                    f"{images[modality][identity]['name']}; it is ignored.",
                    Kind.IMAGES,
                )
                continue
            images[modality][identity] = image = {"name": name, "site": site}
            if identity in conflicts:
                continue
            if isinstance(content, Oversized):
                image["problem"] = str(content)
                continue
            try:
                image["voxels_sha256"] = raw_bids.check_nifti(content)
            except ScanExcluded as exclusion:
                image["problem"] = exclusion.reason
                continue
            participant_id, scan_id = _identity(identity)
            image["path"] = f"{participant_id}/ses-1/anat/{scan_id}_{modality}.nii.gz"
            image["image_sha256"] = collected.write_image(image["path"], content)
    return images, others


def _finish(
    collected: raw_bids.Ingested, identity: int, images: dict[str, dict[int, dict]], people: dict, conflicts: dict
) -> None:
    """Make the row of one session from its images: a scan, or an exclusion."""
    participant_id, scan_id = _identity(identity)
    found = {modality: numbered.get(identity, {}) for modality, numbered in images.items()}
    reason = conflicts.get(identity) or found["T1w"].get("problem")
    for modality, image in found.items():
        if not reason and "path" not in image:
            absent = "The archives have no image of this participant."
            reason = f"{modality[:2]}: {image.get('problem', absent)}"
    if reason:
        collected.exclude(participant_id, scan_id, reason)
        collected.drop_images(image["path"] for image in found.values() if "path" in image)
        return
    t1w = found["T1w"]
    collected.scans[scan_id] = {
        "participant_id": participant_id,
        "session_id": "ses-1",
        "scan_id": scan_id,
        "site": t1w["site"],
        "scanner": SITES[t1w["site"]][1],
        **{key: t1w[key] for key in ("path", "image_sha256", "voxels_sha256")},
        **{f"path_{modality}": image["path"] for modality, image in found.items() if modality != "T1w"},
        **people.get(identity, {}),
    }


def _match(name: str) -> re.Match | None:
    return NAME.fullmatch(PurePosixPath(name).name)


def _modality(name: str) -> str | None:
    match = _match(name)
    return MODALITY_OF[match[4]] if match else None


def _identity(identity: int) -> tuple[str, str]:
    """participant_id and scan_id of IXI 12: sub-IXI012, sub-IXI012_ses-1."""
    participant_id = f"sub-IXI{identity:03d}"
    return participant_id, f"{participant_id}_ses-1"


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
