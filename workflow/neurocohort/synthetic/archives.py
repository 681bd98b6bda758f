"""Synthetic archives with the layout of IXI and OASIS-1 and the errors of their tables, for the demo and the tests.

Each function also writes `truth/` (see `files.write_truth`): the values that a pipeline should find.

Like the real IXI, the synthetic one also has a scan without an age, a scan whose two rows have different ages, a scan without a
row (all three unusable), rows without a scan, a repeated row with zeros, zeros for missing values, and a height of 1520 cm.
"""

import datetime
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path

import numpy as np
import xlwt

from neurocohort.errors import InputError
from neurocohort.files import write_json, write_text, written_aside
from neurocohort.synthetic.anatomy import Anatomy, prepare_anatomy
from neurocohort.synthetic.diffusion import SITE as DIFFUSION_SITE
from neurocohort.synthetic.diffusion import diffusion_volumes, gradient_files, tissues_at
from neurocohort.synthetic.files import Truth, nifti_gz, write_tar, write_truth
from neurocohort.synthetic.heads import GUYS, HH, IOP, Grid, Head, Person, draw_head, draw_person, rotation_matrix
from neurocohort.synthetic.oasis1 import write_oasis1_archives
from neurocohort.synthetic.painting import HeadFeatures, Site

__all__ = ["write_ixi_archives", "write_oasis1_archives"]

IXI_FIELD_OF_VIEW_MM = (240.0, 240.0, 180.0)  # 256 x 256 x 150 voxels of 0.9375 x 0.9375 x 1.2 mm
IXI_AXIAL_FIELD_OF_VIEW_MM = (192.0, 240.0, 180.0)
IXI_SITES = ((GUYS, 0.55), (HH, 0.32), (IOP, 0.13))  # and their fractions of the cohort
# Extra modalities of a session: intensities relative to white matter (T2: Wansapura 1999; PD hardly differs), the thickness of a
# voxel relative to its width, and the motion of a head between two sequences of one visit.
IXI_EXTRA = {
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
DIFFUSION_MAPS = ("FA", "MD")
SEXES = {1: "M", 2: "F"}
UNUSABLE_SCANS = ("no_age", "conflict", "no_row")
ROWS_WITHOUT_SCAN = 2


@dataclass(frozen=True)
class IxiRow:
    """A row of IXI.xls; the fields have the order of IXI_COLUMNS."""

    ixi_id: int
    sex: int
    height: int
    weight: int
    ethnic: int
    marital: int
    occupation: int
    qualification: int
    birth: str
    available: int
    study: datetime.date
    age: float

    @property
    def name(self) -> str:
        """The id in file names."""
        return f"IXI{self.ixi_id:03d}"


def write_ixi_archives(
    folder: Path | str,
    *,
    participants: int,
    seed: int,
    spacing_mm: float,
    modalities: tuple[str, ...] = ("T1w",),
    marker_left_temple: bool = False,
) -> None:
    """Write a synthetic IXI: `IXI-T1.tar`, `IXI.xls` and `truth/`.

    Args:
        folder: The folder to write to.
        participants: Number of usable scans, with ages evenly from 20 to 86 years, at three sites.
        seed: Seed of everything.
        spacing_mm: Voxel spacing.
        modalities: With T2w or PDw, also `IXI-T2.tar` or `IXI-PD.tar`, with one scan fewer as in the real cohort, and
            `truth/T2w_to_T1w.json` with the motion between them. With FA or MD, also `IXI-DTI.tar`, which lacks one volume,
            `bvals.txt`, `bvecs.txt`, and `truth/diffusion.json` with the FA and MD (mm2/s) of each person's tissues.
        marker_left_temple: Put a bright capsule on every left temple.

    Raises:
        InputError: For fewer than 4 participants.
    """
    folder = Path(folder)
    if participants < MINIMUM_PARTICIPANTS:
        raise InputError(
            f"The synthetic IXI cohort has {participants} participant(s); it needs at least {MINIMUM_PARTICIPANTS}. Increase the "
            "number of participants of the synthetic cohort in the configuration."
        )
    rng = np.random.default_rng([seed, 1])
    people, roles = _ixi_people(participants, rng)
    sites = _sites_in_proportion(participants + len(UNUSABLE_SCANS), rng)
    _write_ixi_table(folder / "IXI.xls", people, roles, rng)
    anatomy = prepare_anatomy()
    features = HeadFeatures(marker_left_temple=marker_left_temple)
    scanned = [(row, role) for row, role in zip(people, roles, strict=True) if role != "no_scan"]
    sessions, heads = {}, []
    for (row, role), site in zip(scanned, sites, strict=True):
        session = _scan_person(anatomy, row, site, modalities, spacing_mm, features, seed)
        truth = Truth(row.name, row.age, SEXES[row.sex], site.name, None, int(role == "usable"))
        sessions[row.name] = session
        heads.append((truth, session.head))
    write_truth(folder, heads)
    if {*DIFFUSION_MAPS} & {*modalities}:
        _write_diffusion(folder, sessions, {row.name: row.age for row in people})
    for modality in modalities:
        if modality in DIFFUSION_MAPS:
            continue
        images = {session.file(modality): session.images[modality] for session in sessions.values()}
        if modality != "T1w":
            del images[max(images)]  # some people of the real cohort have a T1-weighted scan only
            motions = {name: session.motions[modality].tolist() for name, session in sessions.items()}
            write_json(folder / "truth" / f"{modality}_to_T1w.json", motions)
        write_tar(folder / f"IXI-{modality[:2]}.tar", images)


@dataclass(frozen=True)
class IxiSession:
    """The scans of one person.

    ``images``, and ``motions`` (4 x 4, to the T1-weighted scan's world): by modality. ``diffusion``: the volumes of the series.
    """

    stem: str
    head: Head
    images: dict[str, bytes]
    motions: dict[str, np.ndarray]
    diffusion: list[bytes]

    def file(self, modality: str) -> str:
        """Return the name of an image."""
        return f"{self.stem}-{modality[:2]}.nii.gz"


def _write_diffusion(folder: Path, sessions: dict[str, IxiSession], ages: dict[str, float]) -> None:
    """Write IXI-DTI.tar, its two tables, and the truth: the tensors of each person's tissues, and the motion to the T1w scan."""
    volumes = {
        f"{session.stem}-DTI-{number:02d}.nii.gz": content
        for session in sessions.values()
        for number, content in enumerate(session.diffusion)
    }
    del volumes[max(volumes)]  # some series of the real cohort may be incomplete
    write_tar(folder / "IXI-DTI.tar", volumes)
    for name, text in gradient_files().items():
        write_text(folder / name, text)
    tensors = {name: {tissue: asdict(one) for tissue, one in tissues_at(ages[name]).items()} for name in sessions}
    write_json(folder / "truth" / "diffusion.json", tensors)
    motions = {name: session.motions["dwi"].tolist() for name, session in sessions.items()}
    write_json(folder / "truth" / "dwi_to_T1w.json", motions)


def _scan_person(
    anatomy: Anatomy,
    row: IxiRow,
    site: Site,
    modalities: tuple[str, ...],
    spacing_mm: float,
    features: HeadFeatures,
    seed: int,
) -> IxiSession:
    rng = np.random.default_rng([seed, 1, row.ixi_id])
    person = draw_person(anatomy, age=row.age, sex=SEXES[row.sex], cdr=0.0, rng=rng)
    shape = tuple(round(extent / spacing_mm) for extent in IXI_FIELD_OF_VIEW_MM)
    grid = Grid(shape, _oblique_psr_affine(shape, spacing_mm, rng))
    head = draw_head(anatomy, person, site, grid, rng=rng, features=features)
    stem = f"{row.name}-{site.name}-{700 + 3 * row.ixi_id // 2 + rng.integers(2):04d}"
    images, motions = {"T1w": nifti_gz(head.scan(rng), grid.affine)}, {}
    for modality in modalities:
        if modality in IXI_EXTRA:
            seeds = [seed, 2, row.ixi_id, list(IXI_EXTRA).index(modality)]
            images[modality], motions[modality] = _extra_scan(anatomy, person, head, modality, spacing_mm, seeds)
    diffusion: list[bytes] = []
    if {*DIFFUSION_MAPS} & {*modalities}:
        seeds = [seed, 2, row.ixi_id, len(IXI_EXTRA)]
        diffusion, motions["dwi"] = _diffusion_scan(anatomy, person, head, row.age, spacing_mm, seeds)
    return IxiSession(stem, head, images, motions, diffusion)


def _ixi_people(participants: int, rng: np.random.Generator) -> tuple[list[IxiRow], np.ndarray]:
    """People in the order of their ids, and the role of each: usable, one of UNUSABLE_SCANS, or no_scan."""
    roles = np.array(["usable"] * participants + [*UNUSABLE_SCANS] + ["no_scan"] * ROWS_WITHOUT_SCAN)
    ids = np.sort(rng.choice(np.arange(2, 663), size=len(roles), replace=False))
    roles = rng.permutation(roles)
    ages = np.empty(len(ids))
    edges = np.linspace(*IXI_AGES, participants + 1)
    ages[roles == "usable"] = rng.permutation(rng.uniform(edges[:-1], edges[1:]))
    ages[roles != "usable"] = rng.uniform(*IXI_AGES, size=len(ids) - participants)
    return [_ixi_person(int(ixi_id), age, rng) for ixi_id, age in zip(ids, ages, strict=True)], roles


def _extra_scan(
    anatomy: Anatomy, person: Person, head: Head, modality: str, spacing_mm: float, seeds: list[int]
) -> tuple[bytes, np.ndarray]:
    """An axial scan of another contrast after a motion, and the motion (4 x 4, its world to that of the T1-weighted scan)."""
    rng = np.random.default_rng(seeds)
    motion, grid = _axial_grid_after_motion(spacing_mm, rng)
    pose = head.native_to_mni @ motion
    moved = draw_head(anatomy, person, IXI_EXTRA[modality], grid, rng=rng, native_to_mni=pose)
    return nifti_gz(moved.scan(rng), grid.affine), motion


def _diffusion_scan(
    anatomy: Anatomy, person: Person, head: Head, age: float, spacing_mm: float, seeds: list[int]
) -> tuple[list[bytes], np.ndarray]:
    """The volumes of an axial diffusion-weighted series after a motion, and the motion as in `_extra_scan`."""
    rng = np.random.default_rng(seeds)
    motion, grid = _axial_grid_after_motion(spacing_mm, rng)
    moved = draw_head(anatomy, person, DIFFUSION_SITE, grid, rng=rng, native_to_mni=head.native_to_mni @ motion)
    return [nifti_gz(volume, grid.affine) for volume in diffusion_volumes(moved, age, rng)], motion


def _axial_grid_after_motion(spacing_mm: float, rng: np.random.Generator) -> tuple[np.ndarray, Grid]:
    """A motion (4 x 4) since the T1-weighted scan, and the voxels of an axial scan after it."""
    motion = np.eye(4)
    motion[:3, :3] = rotation_matrix(*(MOTION_DEGREES * rng.uniform(-1, 1, 3)))
    motion[:3, 3] = MOTION_MM * rng.uniform(-1, 1, 3)
    spacing = np.array([spacing_mm, spacing_mm, spacing_mm * IXI_SLICE_FACTOR])
    shape = tuple(int(size) for size in np.round(np.array(IXI_AXIAL_FIELD_OF_VIEW_MM) / spacing))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(shape) - 1) / 2
    return motion, Grid(shape, affine.astype(np.float32).astype(float))


def _sites_in_proportion(count: int, rng: np.random.Generator) -> list[Site]:
    """A site for each scan, in the proportions of IXI_SITES as far as whole numbers allow, each site at least once."""
    numbers = [max(1, round(fraction * count)) for _, fraction in IXI_SITES[1:]]
    sites = [IXI_SITES[0][0]] * (count - sum(numbers))
    for (site, _), number in zip(IXI_SITES[1:], numbers, strict=True):
        sites += [site] * number
    return [sites[place] for place in rng.permutation(count)]


def _oblique_psr_affine(shape: tuple[int, ...], spacing_mm: float, rng: np.random.Generator) -> np.ndarray:
    """Axes to posterior, superior and right as in IXI, turned by a few degrees; the world's origin is the middle."""
    axes = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    pitch, roll, yaw = rng.uniform(-1, 1, size=3) * (8.0, 2.0, 2.0)
    affine = np.eye(4)
    affine[:3, :3] = rotation_matrix(pitch, roll, yaw) @ axes * spacing_mm
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    # NIfTI stores single precision.
    return affine.astype(np.float32).astype(float)


def _ixi_person(ixi_id: int, age: float, rng: np.random.Generator) -> IxiRow:
    sex = int(rng.integers(1, 3))
    study = datetime.date(2005, 6, 1) + datetime.timedelta(days=int(rng.integers(0, 540)))
    days = round(age * 365.25)
    return IxiRow(
        ixi_id,
        sex,
        height=int(rng.normal(177 if sex == 1 else 164, 6)),
        weight=int(rng.normal(80 if sex == 1 else 66, 9)),
        ethnic=int(rng.choice([1, 3, 4, 5, 6], p=[0.8, 0.08, 0.04, 0.04, 0.04])),
        marital=int(rng.integers(1, 6)),
        occupation=int(rng.integers(1, 7)),
        qualification=int(rng.integers(1, 6)),
        birth=(study - datetime.timedelta(days=days)).isoformat(),
        available=1,
        study=study,
        age=days / 365.25,
    )


def _write_ixi_table(path: Path, people: list[IxiRow], roles: np.ndarray, rng: np.random.Generator) -> None:
    """Write the sheet `Table`, with numbers as ids and the errors of the real table."""
    usable = rng.permutation(np.nonzero(roles == "usable")[0])
    rows: list[tuple] = []
    for place, (row, role) in enumerate(zip(people, roles, strict=True)):
        if role == "no_row":
            continue
        if role in ("no_age", "no_scan"):
            rows.append((*astuple(row)[:-3], int(role == "no_age"), None, None))
            continue
        if place == usable[0]:
            row = replace(row, height=1520)
        if place == usable[1]:
            row = replace(row, height=0, weight=0, ethnic=0)
        rows.append(astuple(row))
        if place == usable[2]:
            zeros = replace(row, height=0, weight=0, ethnic=0, marital=0, occupation=0, qualification=0)
            rows.append(astuple(zeros))
        if role == "conflict":
            birth = datetime.date.fromisoformat(row.birth) + datetime.timedelta(days=1828)
            rows.append(astuple(replace(row, birth=birth.isoformat(), age=row.age - 1828 / 365.25)))
    book = xlwt.Workbook()
    sheet = book.add_sheet("Table")
    date_style = xlwt.easyxf(num_format_str="YYYY-MM-DD")
    for column, values in enumerate(zip(IXI_COLUMNS, *rows, strict=True)):
        for line, value in enumerate(values):
            if isinstance(value, datetime.date):
                sheet.write(line, column, value, date_style)
            elif value is not None:
                sheet.write(line, column, value)
    with written_aside(path) as aside:
        book.save(str(aside))
