"""The image of a scan as a NIfTI file that states its orientation: the file itself, or a converted copy.

An Analyze pair and a NIfTI file without sform and qform don't state where left and right are. Such an image is refused unless the
user states its orientation.
"""

from pathlib import Path

import nibabel as nib
import numpy as np

from neurocohort.errors import InputError, ScanExcluded
from neurocohort.imaging.reading import NIFTI_SUFFIXES
from neurocohort.nifti_files import read_nifti, read_nifti_header, spatial_shape
from neurocohort.sources.local_files import pair_of
from neurocohort.sources.local_images import check_kind, read_pair, states_orientation

STAGE = "read"
SCANNER = 1  # NIfTI's code for the coordinates of a scanner


def oriented_image(path: Path, orientation: str, scratch: Path) -> Path:
    """The NIfTI file of a scan.

    Args:
        path: The scan: .nii, .nii.gz, or one file of an Analyze or NIfTI pair.
        orientation: Where the voxel axes of an image that doesn't state it lead to, such as RAS; empty to refuse such images.
        scratch: Where a converted copy is written.

    Raises:
        ScanExcluded: If the image can't be read, or its orientation is unknown.
    """
    check_kind(path)
    if pair := pair_of(path):
        found, oriented = read_pair(pair)
        image = found.image
    else:
        oriented = states_orientation(read_nifti_header(path, STAGE))
        if oriented and path.name.endswith(NIFTI_SUFFIXES):
            return path
        image = read_nifti(path, STAGE).image
    if not oriented and not orientation:
        raise ScanExcluded(
            STAGE,
            f"{path.name} doesn't state the orientation of the head ({'an Analyze pair' if pair else 'no sform and no qform'}): "
            "left and right would be guessed. State where its voxel axes lead to, for example with --orientation RAS.",
        )
    if not oriented:
        image = with_orientation(image, orientation)
    converted = scratch / "scan.nii"
    nib.save(image, converted)
    return converted


def check_orientation(orientation: str) -> str:
    """The orientation in capitals. Raises InputError unless it is three letters, one each of R or L, A or P, and S or I."""
    letters = orientation.upper()
    if sorted("RAS"["RLAPSI".index(letter) // 2] for letter in letters if letter in "RLAPSI") != sorted("RAS"):
        raise InputError(
            f"--orientation is {orientation!r}; expected three letters that state where the first, second and third voxel axis "
            "lead to, such as RAS (right, anterior, superior) or LAS."
        )
    return letters


def with_orientation(image: nib.Nifti1Image, orientation: str) -> nib.Nifti1Image:
    """The image with the affine of an orientation, the spacing of its header, and its centre at the origin."""
    shape = spatial_shape(image.shape, STAGE)
    spacing_mm = np.abs(np.asarray(image.header.get_zooms()[:3], dtype=float))
    if not (np.isfinite(spacing_mm).all() and (spacing_mm > 0).all()):
        raise ScanExcluded(STAGE, f"the header gives a voxel size of {spacing_mm.tolist()} mm")
    affine = np.zeros((4, 4))
    for axis, letter in enumerate(orientation):
        affine["RLAPSI".index(letter) // 2, axis] = spacing_mm[axis] * (1 if letter in "RAS" else -1)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[3, 3] = 1
    oriented = nib.Nifti1Image(image.dataobj, affine, image.header)
    oriented.set_sform(affine, SCANNER)
    oriented.set_qform(affine, SCANNER)
    return oriented
