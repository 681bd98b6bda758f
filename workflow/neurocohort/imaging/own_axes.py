"""Coordinates along a scan's own axes, so that the position that its header states changes no result.

The header says how the scanner's table and coils were turned to the image; a program that writes Analyze, or one that
straightens headers, loses that. The grids on which a scan is corrected and registered would change with it, and a network
amplifies the difference: a header turned by some degrees changed a predicted age by a year.
"""

from dataclasses import replace

import nibabel as nib
import numpy as np

from neurocohort.imaging.deformable import Deformation
from neurocohort.imaging.registration import START_DEGREES
from neurocohort.imaging.volume import Volume

DECIMALS = 5  # of a voxel's axes in mm: headers store single precision


def along_own_axes(scan: Volume) -> tuple[Volume, np.ndarray]:
    """Return a scan with coordinates along its own axes, and the way back.

    The x axis is the array's axis that is closest to left-right, and so on; the origin is the middle of the field of view. An
    image that is turned by more than START_DEGREES from the world's axes keeps its coordinates, because there the registration
    needs the header for its start.

    Returns:
        The same data with another affine, and the affine (4 x 4) from its coordinates to the scan's, RAS mm.
    """
    to_ras = nib.orientations.inv_ornt_aff(nib.io_orientation(scan.affine), scan.data.shape)[:3, :3]
    left, _, right = np.linalg.svd(scan.affine[:3, :3] @ to_ras)
    turn = left @ right
    cosine = (np.trace(turn) - 1) / 2
    if cosine < np.cos(np.deg2rad(START_DEGREES)) or np.linalg.det(turn) < 0:
        return scan, np.eye(4)
    own = np.eye(4)
    own[:3, :3] = np.round(turn.T @ scan.affine[:3, :3], DECIMALS)
    own[:3, 3] = -own[:3, :3] @ ((np.array(scan.data.shape) - 1) / 2)
    return replace(scan, affine=own), scan.affine @ np.linalg.inv(own)


def moved(image: Volume, matrix: np.ndarray) -> Volume:
    """Return an image with its world points moved by ``matrix``, 4 x 4."""
    return replace(image, affine=matrix @ image.affine)


def deformation_to(deformation: Deformation, to_world: np.ndarray) -> Deformation:
    """Return a deformation whose scan's points are moved by ``to_world``, 4 x 4."""
    there, back = deformation.template_to_scan, deformation.scan_to_template
    return replace(
        deformation,
        template_to_scan=replace(there, after=to_world @ there.after),
        scan_to_template=replace(back, before=back.before @ np.linalg.inv(to_world)),
    )
