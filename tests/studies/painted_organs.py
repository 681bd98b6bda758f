"""A cohort of lungs or knees made of mathematical shapes, in a form that a study in native space takes as it is.

    python tests/studies/painted_organs.py --organ lung --output resources/organs/lung --seed 1
    snakemake --cores 2 --configfile tests/studies/lung.yaml

``lung``: CT in Hounsfield units, voxels of 0.8 x 0.8 x 2 mm: a chest with two lungs, vessels, trachea and spine, and up to four
nodules of 8 to 20 mm; every fourth participant has none. ``knee``: a scan like proton density, voxels of 1.5 x 0.7 x 0.7 mm:
femur, tibia, patella, and cartilage 2 mm thick on femur and tibia. Each participant is stored in one of three orientations, with
a header that is turned by some degrees and shifted.

FOLDER becomes a BIDS folder with the images and, beside them, the label maps on their grid; ``dseg.tsv`` names the labels,
``split.tsv`` is the cohort's ``split_file``, and ``truth.tsv`` has what was drawn.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "workflow")]

import nibabel as nib  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from neurocohort.files import write_json, write_table, write_text  # noqa: E402

ORIENTATIONS = ("RAS", "LPS", "PSR")
MAX_TURN_DEGREES, MAX_SHIFT_MM = 8.0, 60.0  # of the header
EDGE_MM = 0.8  # over which a shape's edge blends with what is around it
PARTS = {"held-out": 1 / 3, "validation": 1 / 6}  # the others are trained on
AIR, LUNG, FAT, SOFT, BLOOD, BONE = -1000.0, -850.0, -90.0, 40.0, 60.0, 400.0  # Hounsfield units
NOISE_HU = 25.0
NODULE_MM = (8.0, 20.0)  # diameter
MOST_NODULES, EVERY_NTH_WITHOUT = 4, 4
HEART, HEART_RADII = np.array([-12, 18, -30]), np.array([34, 30, 36])  # mm
VESSELS = 14  # of a lung
CARTILAGE_MM = 2.0


Part = tuple[slice, ...]


@dataclass(frozen=True)
class Organ:
    """A cohort's anatomy.

    Attributes:
        suffix: BIDS' suffix of its images.
        labels: Names of the labels, from 1 on.
        spacing_mm: Of a voxel along left-right, posterior-anterior and inferior-superior.
        size_mm: Of the field of view along these.
    """

    suffix: str
    labels: tuple[str, ...]
    spacing_mm: tuple[float, float, float]
    size_mm: tuple[float, float, float]


ORGANS = {
    "lung": Organ("ct", ("lung_left", "lung_right", "nodule"), (0.8, 0.8, 2.0), (250, 190, 210)),
    "knee": Organ(
        "PDw",
        ("femur", "tibia", "patella", "femoral_cartilage", "tibial_cartilage"),
        (1.5, 0.7, 0.7),
        (114, 114, 120),
    ),
}
DESCRIPTION = {
    "Name": "Organs made of shapes",
    "BIDSVersion": "1.10.0",
    "DatasetType": "derivative",
    "GeneratedBy": [{"Name": "painted_organs.py", "Description": "Images of mathematical shapes with their labels"}],
}


class Canvas:
    """An image that is painted shape by shape, and its label map.

    Args:
        shape: In voxels.
        affine: 4 x 4, voxel index to the body's coordinates in mm: right, anterior, superior.
        background: The intensity of all voxels.
    """

    def __init__(self, shape: tuple[int, ...], affine: np.ndarray, background: float):
        self.affine = affine
        self.image = np.full(shape, background, dtype=np.float32)
        self.labels = np.zeros(shape, dtype=np.uint8)
        self.whole = tuple(slice(0, side) for side in shape)

    def points(self, part: Part | None = None) -> np.ndarray:
        """Coordinates of the voxels of a part, mm, (3, X, Y, Z) float32."""
        axes = np.meshgrid(
            *(np.arange(side.start, side.stop) for side in part or self.whole), indexing="ij", sparse=True
        )
        index = [axis.astype(np.float32) for axis in axes]
        rows = self.affine.astype(np.float32)
        return np.stack([row[0] * index[0] + row[1] * index[1] + (row[2] * index[2] + row[3]) for row in rows[:3]])

    def around(self, *places: np.ndarray, margin: float | np.ndarray) -> Part:
        """The part of the image that contains the box around some places with a margin in mm."""
        low, high = np.min(places, axis=0) - margin - EDGE_MM, np.max(places, axis=0) + margin + EDGE_MM
        corners = np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(3, -1)
        inverse = np.linalg.inv(self.affine)
        index = inverse[:3, :3] @ corners + inverse[:3, 3:]
        first, last = np.floor(index.min(axis=1)), np.ceil(index.max(axis=1)) + 1
        ends = zip(first.astype(int), last.astype(int), self.image.shape, strict=True)
        return tuple(slice(max(0, start), max(0, min(stop, side))) for start, stop, side in ends)

    def paint(self, distance: np.ndarray, value: float, label: int | None = None, part: Part | None = None) -> None:
        """Paint a shape.

        Args:
            distance: In mm to its surface, negative inside, at the voxels of the part.
            value: Its intensity.
            label: Its label; None keeps the labels that are there.
            part: Of the image; None is the whole of it.
        """
        where = part or self.whole
        self.image[where] += np.clip(0.5 - distance / EDGE_MM, 0, 1) * (np.float32(value) - self.image[where])
        if label is not None:
            self.labels[where][distance < 0] = label


def ellipsoid(points: np.ndarray, centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Distance to an ellipsoid along the axes: exact for a sphere, and near the surface of others within a few percent."""
    scaled = (points - _column(centre)) / _column(radii)
    length = np.sqrt((scaled**2).sum(axis=0))
    slope = np.sqrt(((scaled / _column(radii)) ** 2).sum(axis=0))
    return length * (length - 1) / np.maximum(slope, 1e-6)


def capsule(points: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float) -> np.ndarray:
    """Distance to a tube with round ends."""
    along = np.asarray(end, dtype=np.float32) - np.asarray(start, dtype=np.float32)
    offset = points - _column(start)
    place = np.clip(np.tensordot(along, offset, axes=1) / max(float(along @ along), 1e-6), 0, 1)
    return np.sqrt(((offset - _column(along) * place) ** 2).sum(axis=0)) - radius


def _column(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float32).reshape(3, *[1] * 3)


def paint_lung(canvas: Canvas, rng: np.random.Generator, number: int) -> dict:
    """Paint a chest in Hounsfield units; every EVERY_NTH_WITHOUT-th participant has no nodule."""
    size = rng.uniform(0.92, 1.05)
    points = canvas.points()
    ends = np.abs(points[2]) - 98 * size
    canvas.paint(np.maximum(ellipsoid(points, [0, 0, 0], np.array([112, 78, 400]) * size), ends), FAT)
    canvas.paint(np.maximum(ellipsoid(points, [0, 0, 0], np.array([104, 70, 400]) * size), ends), SOFT)
    _paint_tube(canvas, np.array([0, -48, -98]) * size, np.array([0, -48, 98]) * size, 14 * size, BONE)
    lungs = {}
    for label, side in ((1, -1), (2, 1)):
        centre = np.array([side * rng.uniform(48, 52), rng.uniform(-4, 4), rng.uniform(-6, 6)]) * size
        radii = np.array([rng.uniform(34, 38), rng.uniform(50, 56), rng.uniform(72, 82)]) * size
        lungs[label] = centre, radii
        _paint_ellipsoid(canvas, centre, radii, LUNG + rng.uniform(-30, 30), label)
    _paint_tube(canvas, np.array([0, -14, 10]), np.array([0, -14, 90]), 8, AIR)
    _paint_ellipsoid(canvas, HEART, HEART_RADII * size, SOFT, 0)
    where = {label: canvas.labels == label for label in lungs}
    for label, (centre, radii) in lungs.items():
        for _ in range(VESSELS):
            end = centre + radii * 0.9 * _direction(rng)
            value = BLOOD + rng.uniform(-30, 30)
            _paint_tube(canvas, centre * [0.55, 1, 1], end, rng.uniform(0.8, 2.2), value, where[label])
    count = 0 if number % EVERY_NTH_WITHOUT == 0 else int(rng.integers(1, MOST_NODULES + 1))
    diameters = [round(float(rng.uniform(*NODULE_MM)), 2) for _ in range(count)]
    placed: list[tuple[np.ndarray, float]] = []
    for diameter in diameters:
        place = _free_place(lungs, placed, diameter / 2, rng)
        placed.append((place, diameter / 2))
        _paint_ellipsoid(canvas, place, np.full(3, diameter / 2), rng.uniform(0, 80), 3)
    canvas.image += rng.normal(0, NOISE_HU, canvas.image.shape).astype(np.float32)
    canvas.image = np.clip(canvas.image, -1024, 3071)
    return {"nodules": count, "diameters_mm": ", ".join(map(str, diameters)) or None}


def _paint_ellipsoid(canvas: Canvas, centre: np.ndarray, radii: np.ndarray, value: float, label: int) -> None:
    part = canvas.around(centre, margin=radii)
    canvas.paint(ellipsoid(canvas.points(part), centre, radii), value, label, part)


def _paint_tube(
    canvas: Canvas, start: np.ndarray, end: np.ndarray, radius: float, value: float, within: np.ndarray | None = None
) -> None:
    """Paint a tube; ``within``: only in these voxels of the image (bool)."""
    part = canvas.around(start, end, margin=radius)
    distance = capsule(canvas.points(part), start, end, radius)
    canvas.paint(distance if within is None else np.where(within[part], distance, EDGE_MM), value, None, part)


def _direction(rng: np.random.Generator) -> np.ndarray:
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def _free_place(
    lungs: dict, placed: list[tuple[np.ndarray, float]], radius: float, rng: np.random.Generator
) -> np.ndarray:
    """A centre in the outer two thirds of a lung, inside it with a margin, apart from other nodules, heart and hilum."""
    while True:
        centre, radii = lungs[int(rng.integers(1, 3))]
        place = centre + (radii - radius - 3) * _direction(rng) * rng.uniform(0.4, 0.95)
        apart = all(np.linalg.norm(place - other) > radius + its + 4 for other, its in placed)
        outside_heart = (((place - HEART) / (HEART_RADII * 1.1 + radius + 2)) ** 2).sum() > 1
        if apart and outside_heart:
            return place


def paint_knee(canvas: Canvas, rng: np.random.Generator, number: int) -> dict:
    """Paint a knee like a proton-density image, with a scale and a shading of its own."""
    size = rng.uniform(0.92, 1.06)
    points = canvas.points()
    x, y, z = points
    limb = np.sqrt(x**2 + (y / 1.02) ** 2) - 52 * size
    canvas.paint(np.maximum(limb, np.abs(z) - 56), 620)  # fat
    canvas.paint(np.maximum(limb + 6, np.abs(z) - 56), 330)  # muscle
    joint = rng.uniform(-4, 4)
    apart, depth = rng.uniform(20, 23) * size, rng.uniform(25, 28) * size
    femur = capsule(points, [0, -2, joint + 30], [0, -2, joint + 90], 15 * size)
    for side in (-1, 1):
        centre = np.array([side * apart, -4, joint + 22 * size + 3.5])
        femur = np.minimum(femur, ellipsoid(points, centre, np.array([17 * size, depth, 22 * size])))
    femur = np.minimum(femur, ellipsoid(points, [0, 2, joint + 30 * size], np.array([24, 20, 16]) * size))
    plateau = ellipsoid(points, [0, -4, joint - 15 * size], np.array([42 * size, depth * 1.1, 15 * size]))
    plateau = np.maximum(plateau, z - (joint - 2.5))  # a flat top
    tibia = np.minimum(plateau, capsule(points, [0, -2, joint - 24], [0, -2, joint - 90], 14 * size))
    patella = ellipsoid(points, [0, depth + 15 * size, joint + 28 * size], np.array([17, 7, 18]) * size)
    on_femur = np.maximum(femur - CARTILAGE_MM, z - (joint + 24 * size))
    on_tibia = np.maximum(plateau - CARTILAGE_MM, np.abs(np.abs(x) - apart) - 15 * size)
    on_tibia = np.maximum(on_tibia, (joint - 4.5) - z)
    fluid = np.maximum(ellipsoid(points, [0, 0, joint + 8], np.array([44 * size, depth + 12, 20])), -femur)
    canvas.paint(fluid, 780)
    canvas.paint(on_tibia, 520, 5)
    canvas.paint(on_femur, 520, 4)
    inside = np.abs(z) - 58
    for distance, label in ((tibia, 2), (femur, 1), (patella, 3)):
        canvas.paint(np.maximum(distance, inside), 180, label)  # cortical bone
        canvas.paint(np.maximum(distance + 1.5, inside), rng.uniform(420, 470))  # marrow
    shading = 1 + 0.15 * np.tensordot(_direction(rng), points / 50, axes=1).astype(np.float32)
    noise = rng.normal(0, rng.uniform(10, 20), (2, *canvas.image.shape)).astype(np.float32)
    canvas.image = np.hypot(canvas.image * shading + noise[0], noise[1]) * np.float32(rng.uniform(0.5, 3))
    return {"size": round(float(size), 4)}


PAINTERS = {"lung": (paint_lung, AIR), "knee": (paint_knee, 5.0)}  # with the intensity of the background


def stored_affine(organ: Organ, orientation: str, rng: np.random.Generator) -> tuple[tuple[int, ...], np.ndarray]:
    """The shape and the affine (4 x 4, RAS mm) of an image in an orientation such as PSR, turned and shifted a little."""
    axes = ["RLAPSI".index(letter) // 2 for letter in orientation]
    shape = tuple(round(organ.size_mm[axis] / organ.spacing_mm[axis]) for axis in axes)
    affine = np.zeros((4, 4))
    for place, (axis, letter) in enumerate(zip(axes, orientation, strict=True)):
        affine[axis, place] = organ.spacing_mm[axis] * (1 if letter in "RAS" else -1)
    affine[:3, :3] = _turn(rng) @ affine[:3, :3]
    middle = (np.array(shape) - 1) / 2 + rng.uniform(-3, 3, 3)
    affine[:3, 3] = -affine[:3, :3] @ middle
    affine[3, 3] = 1
    return shape, affine


def _turn(rng: np.random.Generator) -> np.ndarray:
    """A rotation by at most MAX_TURN_DEGREES about an axis, 3 x 3."""
    axis, angle = _direction(rng), np.deg2rad(rng.uniform(-MAX_TURN_DEGREES, MAX_TURN_DEGREES))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def paint(name: str, folder: Path, number: int, seed: int, coarser: float = 1.0) -> dict:
    """Paint a participant's scan, write it with its labels, and return its row for ``truth.tsv``.

    Args:
        name: A key of ORGANS.
        folder: The cohort's.
        number: The participant's, from 0.
        seed: Of the cohort.
        coarser: Multiplies the edges of a voxel.
    """
    organ = ORGANS[name]
    organ = Organ(organ.suffix, organ.labels, tuple(mm * coarser for mm in organ.spacing_mm), organ.size_mm)
    rng = np.random.default_rng((seed, number))
    orientation = ORIENTATIONS[number % len(ORIENTATIONS)]
    shape, affine = stored_affine(organ, orientation, rng)
    painter, background = PAINTERS[name]
    canvas = Canvas(shape, affine, background)
    drawn = painter(canvas, rng, number)
    stored = affine.copy()
    stored[:3, 3] += rng.uniform(-MAX_SHIFT_MM, MAX_SHIFT_MM, 3)  # where the table was
    participant = f"sub-{name}{number + 1:02d}"
    anat = folder / participant / "anat"
    anat.mkdir(parents=True)
    for suffix, data in ((organ.suffix, np.rint(canvas.image).astype(np.int16)), ("dseg", canvas.labels)):
        nib.save(nib.Nifti1Image(data, stored), anat / f"{participant}_{suffix}.nii.gz")
    voxel_ml = float(np.prod(organ.spacing_mm)) / 1000
    counts = np.bincount(canvas.labels.ravel(), minlength=len(organ.labels) + 1)[1:]
    volumes = {f"{label}_ml": round(int(n) * voxel_ml, 3) for label, n in zip(organ.labels, counts, strict=True)}
    return {"participant_id": participant, "orientation": orientation, **drawn, **volumes}


def parts_of(participants: list[str], seed: int) -> pd.DataFrame:
    """A part for each participant, drawn from ``seed``."""
    counts = {part: max(1, round(share * len(participants))) for part, share in PARTS.items()}
    names = [part for part, count in counts.items() for _ in range(count)]
    names += ["train"] * (len(participants) - len(names))
    order = np.random.default_rng(seed).permutation(participants)
    parts = dict(zip(order, names, strict=True))
    return pd.DataFrame({"participant_id": participants, "part": [parts[one] for one in participants]})


def write_cohort(name: str, folder: Path, participants: int, seed: int, coarser: float = 1.0) -> pd.DataFrame:
    """Paint a cohort into ``folder``, and return ``truth.tsv``; arguments as for `paint`."""
    rows = []
    for number in range(participants):
        rows.append(paint(name, folder, number, seed, coarser))
        print(f"{len(rows)} of {participants}: {rows[-1]['participant_id']} {rows[-1]['orientation']}", flush=True)
    truth = pd.DataFrame(rows)
    labels = ORGANS[name].labels
    write_table(folder / "truth.tsv", truth)
    write_table(folder / "participants.tsv", truth[["participant_id", "orientation"]])
    write_table(folder / "split.tsv", parts_of(list(truth["participant_id"]), seed))
    write_table(folder / "dseg.tsv", pd.DataFrame({"index": range(1, len(labels) + 1), "name": labels}))
    write_json(folder / "dataset_description.json", DESCRIPTION)
    write_text(folder / ".bidsignore", "/truth.tsv\n/split.tsv\n")
    return truth


def main() -> None:
    """Paint the cohort."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--organ", choices=[*ORGANS], required=True)
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="a folder that isn't there yet")
    parser.add_argument("--participants", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1, help="of the shapes and of the split")
    args = parser.parse_args()
    if args.participants < 3:
        sys.exit(f"error: --participants is {args.participants}; expected at least 3, one for each part.")
    if args.output.exists():
        sys.exit(f"error: {args.output} is there already; remove it, or give another folder.")
    write_cohort(args.organ, args.output, args.participants, args.seed)


if __name__ == "__main__":
    main()
