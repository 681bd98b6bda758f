"""The synthetic OASIS-1: discs of sessions in Analyze 7.5 with the real folders, storage orders and table."""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from neurocohort.errors import InputError
from neurocohort.files import written_aside
from neurocohort.synthetic.anatomy import prepare_anatomy
from neurocohort.synthetic.files import Truth, analyze_pair, write_tar, write_truth
from neurocohort.synthetic.heads import OASIS, Grid, Head, draw_head, draw_person, rician, rotation_matrix, to_int16
from neurocohort.synthetic.painting import HeadFeatures

# First subject of each disc and of a next one, the numbers that don't exist, and the subjects that were scanned twice.
DISC_STARTS = (1, 43, 81, 116, 151, 192, 232, 273, 310, 349, 383, 420, 458)
DISC_RANGES = [(first, following - 1) for first, following in pairwise(DISC_STARTS)]
UNUSED_NUMBERS = frozenset((8, 24, 36, 48, 89, 93, 100, 118, 128, 149, 154, 171, 172, 175, 187, 194, 196, 215, 219, 225, 242, 245, 248, 251, 252, 257, 276, 297, 306, 320, 324, 334, 347, 360, 364, 391, 393, 412, 414, 427, 436))  # fmt: skip  # noqa: E501
REPEATED_NUMBERS = (61, 80, 92, 101, 111, 117, 145, 150, 156, 191, 202, 230, 236, 239, 249, 285, 353, 368, 379, 395)
COLUMNS = ("ID", "M/F", "Hand", "Age", "Educ", "SES", "MMSE", "CDR", "eTIV", "nWBV", "ASF", "Delay")
MINIMUM_PARTICIPANTS = 8
UNRATED_FRACTION = 0.17
RATED_AGES = (60, 92)
UNRATED_AGES = (18, 58)

SUBJECT_EXTENT_MM = (256.0, 256.0, 160.0)  # to anterior, superior, left
RAW_SLICE_RATIO = 1.25  # slices of a single acquisition are thicker
RAW_NOISE_RATIO = 2.0  # relative to the average of four acquisitions
T88_EXTENT_MM = (176.0, 208.0, 176.0)
T88_CENTRE_MNI_MM = (0.0, -16.0, 8.0)
T88_ERROR_DEGREES = 1.0
T88_ERROR_MM = 1.0
FSEG_ERROR = 0.12  # SD of noise on tissue fractions: labels near boundaries are wrong, as those of a program are


@dataclass(frozen=True)
class OasisPerson:
    """A participant of OASIS-1. ``cdr``, ``education``, ``ses`` and ``mmse`` are None where they aren't rated."""

    number: int
    disc: int
    sex: str
    age: int
    cdr: float | None
    repeated: bool
    education: int | None = None
    ses: int | None = None
    mmse: int | None = None


def write_oasis1_archives(
    folder: Path | str,
    *,
    participants: int,
    seed: int,
    spacing_mm: float,
    discs: int = 2,
    marker_left_temple: bool = False,
    grey: float = OASIS.grey,
) -> None:
    """Write a synthetic OASIS-1: `oasis_cross-sectional_disc<n>.tar.gz`, `oasis_cross-sectional.csv` and `truth/`.

    About a quarter of the participants are 18 to 58 years old and have no CDR. The others are 60 to 92, half of them with
    CDR 0 and half above, at the same ages. One or two of the unrated have a repeat session MR2.

    Args:
        folder: The folder to write to.
        participants: Number of participants.
        seed: Seed of everything.
        spacing_mm: Voxel spacing.
        discs: Number of discs.
        marker_left_temple: Put a bright capsule on every left temple.
        grey: Signal of grey matter as a fraction of that of white matter.

    Raises:
        InputError: If there are more participants than the discs can have, or too few.
    """
    folder = Path(folder)
    rng = np.random.default_rng([seed, 2])
    people = _draw_people(participants, discs, rng)
    anatomy = prepare_anatomy()
    sessions = [(entry, 1) for entry in people] + [(entry, 2) for entry in people if entry.repeated]
    members: dict[int, dict[str, bytes]] = {disc: {} for disc in range(1, discs + 1)}
    rows, heads = [], []
    shape = tuple(round(extent / spacing_mm) for extent in SUBJECT_EXTENT_MM)
    grid = Grid(shape, subject_affine(shape, spacing_mm))
    features = HeadFeatures(defaced=True, marker_left_temple=marker_left_temple)
    for entry, visit in sessions:
        session = f"OAS1_{entry.number:04d}_MR{visit}"
        # A repeat session is the same person in another pose.
        person_rng = np.random.default_rng([seed, 2, entry.number])
        person = draw_person(anatomy, age=entry.age, sex=entry.sex, cdr=entry.cdr or 0.0, rng=person_rng)
        scan_rng = np.random.default_rng([seed, 2, entry.number, visit])
        head = draw_head(anatomy, person, replace(OASIS, grey=grey), grid, rng=scan_rng, features=features)
        members[entry.disc] |= _session_members(f"disc{entry.disc}", session, head, spacing_mm, scan_rng)
        rows.append(_table_row(session, entry, visit, head))
        heads.append((Truth(session, entry.age, entry.sex, "OASIS", entry.cdr, 1), head))
    write_truth(folder, heads)
    with written_aside(folder / "oasis_cross-sectional.csv") as aside:
        pd.DataFrame(rows, columns=COLUMNS).to_csv(aside, index=False, lineterminator="\n")
    for disc, content in members.items():
        write_tar(folder / f"oasis_cross-sectional_disc{disc}.tar.gz", content)


def subject_affine(shape: tuple[int, ...], spacing_mm: float) -> np.ndarray:
    """Return the affine to RAS mm that SUBJ_111's files lack: axes to anterior, superior, left; origin at half the extent."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]) * spacing_mm
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) / 2)
    return affine


def _draw_people(participants: int, discs: int, rng: np.random.Generator) -> list[OasisPerson]:
    """Draw the participants in the order of their numbers."""
    if not 1 <= discs <= len(DISC_RANGES):
        raise InputError(f"The synthetic OASIS-1 has {discs} disc(s), the real one 12. Set discs to 1 to 12.")
    free = [[n for n in range(low, high + 1) if n not in UNUSED_NUMBERS] for low, high in DISC_RANGES[:discs]]
    most = discs * min(map(len, free))
    if not MINIMUM_PARTICIPANTS <= participants <= most:
        raise InputError(
            f"The synthetic OASIS-1 has {participants} participants; {discs} disc(s) can have {MINIMUM_PARTICIPANTS} to {most}. "
            "Change the number of participants or of discs."
        )
    counts = [participants // discs + (place < participants % discs) for place in range(discs)]
    candidates = [n for numbers in free for n in numbers if n in REPEATED_NUMBERS] or free[-1][-1:]
    repeated = candidates[: 2 if participants >= 20 else 1]
    numbers = []
    for disc, (available, count) in enumerate(zip(free, counts, strict=True), start=1):
        fixed = [n for n in available if n in repeated][:count]
        others = [n for n in available if n not in repeated]
        chosen = fixed + sorted(rng.choice(others, size=count - len(fixed), replace=False).tolist())
        numbers += [(n, disc) for n in sorted(chosen)]

    rated, unrated = _draw_profiles(participants, len(repeated), rng)
    people = []
    for number, disc in numbers:
        age, cdr = unrated.pop() if number in repeated else rated.pop()
        sex = "MF"[int(rng.random() < 0.6)]
        person = OasisPerson(number, disc, sex, age, cdr, number in repeated)
        people.append(person if cdr is None else _with_questionnaire(person, cdr, rng))
    return people


Profile = tuple[int, float | None]  # age and CDR


def _draw_profiles(participants: int, repeated: int, rng: np.random.Generator) -> tuple[list[Profile], list[Profile]]:
    """Profiles of the participants with one session, in random order, and those of the unrated ones with two."""
    unrated = max(round(UNRATED_FRACTION * participants), repeated)
    rated = participants - unrated
    demented = rated // 2
    young_ages = _spread_ages(UNRATED_AGES, unrated, rng)
    healthy_ages = _spread_ages(RATED_AGES, rated - demented, rng)
    demented_ages = _spread_ages(RATED_AGES, demented, rng)
    # Half have CDR 0.5, the others CDR 1 and, if there are nine or more, one has CDR 2; independent of age.
    severe = int(demented >= 9)
    mild = max(1, round(0.45 * demented))
    cdrs = rng.permutation([0.5] * (demented - mild - severe) + [1.0] * mild + [2.0] * severe).tolist()
    rated_profiles = [(age, 0.0) for age in healthy_ages] + list(zip(demented_ages, cdrs, strict=True))
    profiles: list[Profile] = [rated_profiles[place] for place in rng.permutation(len(rated_profiles))]
    young: list[Profile] = [(age, None) for age in rng.permutation(young_ages).tolist()]
    for _ in range(unrated - repeated):
        profiles.insert(int(rng.integers(len(profiles) + 1)), young.pop())
    return profiles, young


def _spread_ages(limits: tuple[int, int], count: int, rng: np.random.Generator) -> list[int]:
    edges = np.linspace(limits[0], limits[1] + 1, count + 1)
    return [int(age) for age in rng.uniform(edges[:-1], edges[1:])]


def _with_questionnaire(person: OasisPerson, cdr: float, rng: np.random.Generator) -> OasisPerson:
    """Add education, socio-economic status and mini-mental state, which only rated participants have."""
    loss = {0.0: 1, 0.5: 4, 1.0: 9, 2.0: 14}[cdr]
    education, ses = int(rng.integers(1, 6)), int(rng.integers(1, 5))
    return replace(person, education=education, ses=ses, mmse=int(np.clip(30 - rng.poisson(loss), 8, 30)))


def _table_row(session: str, person: OasisPerson, visit: int, head: Head) -> tuple:
    """The values of COLUMNS. A repeat session has no ratings."""
    volumes = head.volumes_ml
    brain, skull = volumes["gm"] + volumes["wm"], volumes["csf"] + volumes["gm"] + volumes["wm"]
    ratings = (person.education, person.ses, person.mmse, person.cdr)
    return (
        session,
        person.sex,
        "R",
        person.age,
        *("" if value is None or visit > 1 else f"{value:g}" for value in ratings),
        round(skull),
        f"{brain / skull:.3f}",
        f"{1755 / skull:.3f}",
        "N/A" if visit == 1 else 2 + person.number % 80,
    )


def _session_members(
    disc: str, session: str, head: Head, spacing_mm: float, rng: np.random.Generator
) -> dict[str, bytes]:
    """The images of one session, by their names in the disc's archive."""
    averaged = 3 if rng.random() < 0.15 else 4
    root, stem = f"{disc}/{session}", f"{session}_mpr_n{averaged}_anon"
    cube = (spacing_mm,) * 3
    shaded = head.signal * head.bias
    subject = rician(shaded, head.noise_sigma, rng)
    raw, raw_spacing = _raw_acquisition(shaded, head.noise_sigma, spacing_mm, rng)
    atlas, fractions = _in_t88(head, subject / head.bias, spacing_mm, rng)
    brain = fractions.sum(axis=0) > 0.5
    noisy = fractions + FSEG_ERROR * rng.standard_normal(fractions.shape, dtype=np.float32)
    labels = np.where(brain, noisy.argmax(axis=0) + 1, 0).astype(np.uint8)
    images = {
        f"{root}/RAW/{session}_mpr-1_anon": (to_int16(raw), raw_spacing),
        f"{root}/PROCESSED/MPRAGE/SUBJ_111/{stem}_sbj_111": (to_int16(subject), cube),
        f"{root}/PROCESSED/MPRAGE/T88_111/{stem}_111_t88_gfc": (to_int16(atlas), cube),
        f"{root}/PROCESSED/MPRAGE/T88_111/{stem}_111_t88_masked_gfc": (to_int16(atlas * brain), cube),
        f"{root}/FSL_SEG/{stem}_111_t88_masked_gfc_fseg": (labels, cube),
    }
    members = {}
    for name, (image, spacing) in images.items():
        members[f"{name}.hdr"], members[f"{name}.img"] = analyze_pair(image, spacing)
    return members


def _raw_acquisition(
    shaded: np.ndarray, sigma: float, spacing_mm: float, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[float, float, float]]:
    """A single acquisition (SUBJ_111 is the average of several): same field of view, thicker slices, more noise."""
    spacing = (spacing_mm, spacing_mm, RAW_SLICE_RATIO * spacing_mm)
    slices = round(shaded.shape[2] / RAW_SLICE_RATIO)
    place = (np.arange(slices) - (slices - 1) / 2) * RAW_SLICE_RATIO + (shaded.shape[2] - 1) / 2
    place = np.clip(place, 0, shaded.shape[2] - 1)
    low = np.minimum(place.astype(int), shaded.shape[2] - 2)
    weight = (place - low).astype(np.float32)
    raw = shaded[:, :, low] * (1 - weight) + shaded[:, :, low + 1] * weight
    return rician(raw, RAW_NOISE_RATIO * sigma, rng), spacing


def _in_t88(
    head: Head, corrected: np.ndarray, spacing_mm: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The corrected scan and the tissue fractions, resampled to the atlas grid (axes to left, anterior, superior)."""
    shape = tuple(round(extent / spacing_mm) for extent in T88_EXTENT_MM)
    atlas = np.eye(4)
    atlas[:3, :3] = np.diag([-1.0, 1.0, 1.0]) * spacing_mm
    atlas[:3, 3] = T88_CENTRE_MNI_MM - atlas[:3, :3] @ ((np.array(shape) - 1) / 2)
    error = np.eye(4)
    error[:3, :3] = rotation_matrix(*(T88_ERROR_DEGREES * rng.uniform(-1, 1, size=3)))
    error[:3, 3] = T88_ERROR_MM * rng.uniform(-1, 1, size=3)
    to_voxel = np.linalg.inv(head.native_to_mni @ head.affine) @ error @ atlas

    def resampled(volume: np.ndarray) -> np.ndarray:
        return ndimage.affine_transform(volume, to_voxel[:3, :3], to_voxel[:3, 3], output_shape=shape, order=1)

    return resampled(corrected), np.stack([resampled(tissue) for tissue in head.tissues])
