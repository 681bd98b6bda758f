"""Synthetic archives in the very layouts of IXI and OASIS-1, with the quirks of their tables, for the demo and the tests.

Each function leaves, beside its archives, `truth/` (see `files.write_truth`): what a pipeline should find.
"""

import datetime
from pathlib import Path

import numpy as np
import xlwt

from neurocohort.errors import InputError
from neurocohort.files import write_json, written_aside
from neurocohort.synthetic.anatomy import Anatomy, prepare_anatomy
from neurocohort.synthetic.files import nifti_gz, write_tar, write_truth
from neurocohort.synthetic.heads import GUYS, HH, IOP, Head, Person, Site, draw_head, draw_person, rotation_matrix
from neurocohort.synthetic.oasis1 import write_oasis1_archives

__all__ = ["write_ixi_archives", "write_oasis1_archives"]

IXI_FIELD_OF_VIEW_MM = (240.0, 240.0, 180.0)  # 256 x 256 x 150 voxels of 0.9375 x 0.9375 x 1.2 mm
IXI_AXIAL_FIELD_OF_VIEW_MM = (192.0, 240.0, 180.0)
IXI_SITES = ((GUYS, 0.55), (HH, 0.32), (IOP, 0.13))  # and their shares of the cohort
# Further modalities of a session: the scanner's look with white matter at 1 (T2: Wansapura 1999; PD hardly differs), the
# voxel's thickness against its width, and how far a head moves between two sequences of one visit.
IXI_FURTHER = {
    "T2w": Site("T2w", white=300.0, csf=3.2, grey=1.45, fat=1.5, muscle=0.55, noise=0.03, bias=0.10),
    "PDw": Site("PDw", white=500.0, csf=1.15, grey=1.20, fat=1.2, muscle=0.80, noise=0.03, bias=0.10),
}
IXI_SLICE_FACTOR = 1.3
MOTION_DEGREES, MOTION_MM = 3.0, 3.0
IXI_AGES = (20.0, 86.0)
IXI_COLUMNS = (
    "IXI_ID",
    "SEX_ID (1=m, 2=f)",
    "HEIGHT",
    "WEIGHT",
    "ETHNIC_ID",
    "MARITAL_ID",
    "OCCUPATION_ID",
    "QUALIFICATION_ID",
    "DOB",
    "DATE_AVAILABLE",
    "STUDY_DATE",
    "AGE",
)
MINIMUM_PARTICIPANTS = 4


def write_ixi_archives(
    folder: Path | str,
    *,
    participants: int,
    seed: int,
    spacing_mm: float,
    modalities: tuple[str, ...] = ("T1w",),
    marker_left_temple: bool = False,
) -> None:
    """Write `IXI-T1.tar`, `IXI.xls` and `truth/` into ``folder``; `IXI-T2.tar` and `IXI-PD.tar` where ``modalities`` has
    T2w and PDw (with one scan fewer, as in the real cohort), and `truth/T2w_to_T1w.json` with the motion between them.

    ``participants`` have a scan and an age, evenly spread over 20 to 86 years at three sites. As in the real cohort there are
    also: a scan without an age, a scan whose two rows conflict in age, a scan without a row (all three unusable), rows
    without a scan, a repeated row with zeroed fields, zeros for missing values and a height of 1520 cm.
    ``marker_left_temple`` puts a bright capsule on every left temple. Raises InputError for fewer than 4 participants.
    """
    folder = Path(folder)
    if participants < MINIMUM_PARTICIPANTS:
        raise InputError(
            f"The synthetic IXI cohort was asked for with {participants} participant(s); it needs at least "
            f"{MINIMUM_PARTICIPANTS}. Raise the number of participants of the synthetic cohort in the cohort's configuration."
        )
    rng = np.random.default_rng([seed, 1])
    scans = participants + 3
    rows_alone = 2
    ids = np.sort(rng.choice(np.arange(2, 663), size=scans + rows_alone, replace=False))
    roles = np.array(["usable"] * participants + ["no_age", "conflict", "no_row"] + ["no_scan"] * rows_alone)
    roles = rng.permutation(roles)
    ages = np.empty(len(ids))
    edges = np.linspace(*IXI_AGES, participants + 1)
    ages[roles == "usable"] = rng.permutation(rng.uniform(edges[:-1], edges[1:]))
    ages[roles != "usable"] = rng.uniform(*IXI_AGES, size=len(ids) - participants)
    people = [_ixi_person(int(ixi_id), age, rng) for ixi_id, age in zip(ids, ages, strict=True)]
    site_order = _sites_in_proportion(scans, rng)
    _write_ixi_table(folder / "IXI.xls", people, roles, rng)

    anatomy = prepare_anatomy()
    members, heads = {}, []
    further: dict[str, dict] = {name: {} for name in modalities if name != "T1w"}
    motions: dict[str, dict] = {name: {} for name in further}
    shape = tuple(round(extent / spacing_mm) for extent in IXI_FIELD_OF_VIEW_MM)
    scanned = [(person, role) for person, role in zip(people, roles, strict=True) if role != "no_scan"]
    for (row, role), site in zip(scanned, site_order, strict=True):
        head_rng = np.random.default_rng([seed, 1, row["IXI_ID"]])
        sex = "MF"[row["SEX_ID (1=m, 2=f)"] - 1]
        person = draw_person(anatomy, age=row["AGE"], sex=sex, cdr=0.0, rng=head_rng)
        affine = _oblique_psr_affine(shape, spacing_mm, head_rng)
        head = draw_head(
            anatomy, person, site, shape=shape, affine=affine, rng=head_rng, marker_left_temple=marker_left_temple
        )
        ixi_id = f"IXI{row['IXI_ID']:03d}"
        name = f"{ixi_id}-{site.name}-{700 + 3 * row['IXI_ID'] // 2 + head_rng.integers(2):04d}-T1.nii.gz"
        members[name] = nifti_gz(head.scan(head_rng), affine)
        truth = dict(id=ixi_id, age=row["AGE"], sex=sex, site=site.name, cdr=None, usable=int(role == "usable"))
        heads.append((truth, head))
        for modality in further:
            image, motion = _further_scan(anatomy, person, head, modality, spacing_mm, [seed, 2, row["IXI_ID"]])
            further[modality][name.replace("-T1.", f"-{modality[:2]}.")] = image
            motions[modality][ixi_id] = motion.tolist()
    write_truth(folder, heads)
    write_tar(folder / "IXI-T1.tar", members)
    for modality, images in further.items():
        last = max(images)  # the real cohort has people with T1 alone
        write_tar(folder / f"IXI-{modality[:2]}.tar", {name: images[name] for name in images if name != last})
        write_json(folder / "truth" / f"{modality}_to_T1w.json", motions[modality])


def _further_scan(
    anatomy: Anatomy, person: Person, head: Head, modality: str, spacing_mm: float, seed: list[int]
) -> tuple[bytes, np.ndarray]:
    """An axial scan of another contrast, after a small motion (4 x 4: its world to that of the T1-weighted scan)."""
    rng = np.random.default_rng([*seed, list(IXI_FURTHER).index(modality)])
    motion = np.eye(4)
    motion[:3, :3] = rotation_matrix(*(MOTION_DEGREES * rng.uniform(-1, 1, 3)))
    motion[:3, 3] = MOTION_MM * rng.uniform(-1, 1, 3)
    spacing = np.array([spacing_mm, spacing_mm, spacing_mm * IXI_SLICE_FACTOR])
    shape = tuple(int(size) for size in np.round(np.array(IXI_AXIAL_FIELD_OF_VIEW_MM) / spacing))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(shape) - 1) / 2
    affine = affine.astype(np.float32).astype(float)
    moved = draw_head(
        anatomy,
        person,
        IXI_FURTHER[modality],
        shape=shape,
        affine=affine,
        rng=rng,
        native_to_mni=head.native_to_mni @ motion,
    )
    return nifti_gz(moved.scan(rng), affine), motion


def _sites_in_proportion(count: int, rng: np.random.Generator) -> list:
    """One site a scan: the shares of IXI_SITES as nearly as whole numbers allow, each site at least once."""
    numbers = [max(1, round(share * count)) for _, share in IXI_SITES[1:]]
    sites = [IXI_SITES[0][0]] * (count - sum(numbers))
    for (site, _), number in zip(IXI_SITES[1:], numbers, strict=True):
        sites += [site] * number
    return [sites[place] for place in rng.permutation(count)]


def _oblique_psr_affine(shape: tuple[int, ...], spacing_mm: float, rng: np.random.Generator) -> np.ndarray:
    """Axes to posterior, superior and right as in IXI, turned by a few degrees; the world's origin in the middle."""
    axes = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    pitch, roll, yaw = rng.uniform(-1, 1, size=3) * (8.0, 2.0, 2.0)
    affine = np.eye(4)
    affine[:3, :3] = rotation_matrix(pitch, roll, yaw) @ axes * spacing_mm
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    # NIfTI stores it in single precision.
    return affine.astype(np.float32).astype(float)


def _ixi_person(ixi_id: int, age: float, rng: np.random.Generator) -> dict:
    sex = int(rng.integers(1, 3))
    study = datetime.date(2005, 6, 1) + datetime.timedelta(days=int(rng.integers(0, 540)))
    days = round(age * 365.25)
    values = (
        ixi_id,
        sex,
        int(rng.normal(177 if sex == 1 else 164, 6)),
        int(rng.normal(80 if sex == 1 else 66, 9)),
        int(rng.choice([1, 3, 4, 5, 6], p=[0.8, 0.08, 0.04, 0.04, 0.04])),
        int(rng.integers(1, 6)),
        int(rng.integers(1, 7)),
        int(rng.integers(1, 6)),
        (study - datetime.timedelta(days=days)).isoformat(),
        1,
        study,
        days / 365.25,
    )
    return dict(zip(IXI_COLUMNS, values, strict=True))


def _write_ixi_table(path: Path, people: list[dict], roles: np.ndarray, rng: np.random.Generator) -> None:
    """Write the sheet `Table`: numbers as ids, and the errors that the real table has."""
    zeroed = ("HEIGHT", "WEIGHT", "ETHNIC_ID", "MARITAL_ID", "OCCUPATION_ID", "QUALIFICATION_ID")
    usable = rng.permutation(np.nonzero(roles == "usable")[0])
    rows = []
    for place, (person, role) in enumerate(zip(people, roles, strict=True)):
        if role == "no_row":
            continue
        row = dict(person)
        if role == "no_age":
            row |= {"STUDY_DATE": None, "AGE": None}
        if role == "no_scan":
            row |= {"DATE_AVAILABLE": 0, "STUDY_DATE": None, "AGE": None}
        if place == usable[0]:
            row["HEIGHT"] = 1520
        if place == usable[1]:
            row |= {"HEIGHT": 0, "WEIGHT": 0, "ETHNIC_ID": 0}
        rows.append(row)
        if place == usable[2]:
            rows.append(row | dict.fromkeys(zeroed, 0))
        if role == "conflict":
            birth = datetime.date.fromisoformat(row["DOB"]) + datetime.timedelta(days=1828)
            rows.append(row | {"DOB": birth.isoformat(), "AGE": row["AGE"] - 1828 / 365.25})
    book = xlwt.Workbook()
    sheet = book.add_sheet("Table")
    date_style = xlwt.easyxf(num_format_str="YYYY-MM-DD")
    for column, name in enumerate(IXI_COLUMNS):
        sheet.write(0, column, name)
        for line, row in enumerate(rows, start=1):
            value = row[name]
            if isinstance(value, datetime.date):
                sheet.write(line, column, value, date_style)
            elif value is not None:
                sheet.write(line, column, value)
    with written_aside(path) as aside:
        book.save(str(aside))
