"""The volume viewer on a scan's page (nilearn's, self-contained), and the choice of the scans that get one."""

import gc
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

from neurocohort.report.cases import ScanKey
from neurocohort.report.quality import Gallery
from neurocohort.structures import TISSUES

VOXEL_MM = 2.0  # finer grids are averaged to about this size, at which a viewer takes some 0.6 MB
MAX_BYTES = 3_000_000  # of a viewer: its page with the mosaic stays below 4 MB
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    zlib.error,
    nib.filebasedimages.ImageFileError,
)  # what a broken image raises
OUTLINE_COLOUR = "#E69F00"  # Okabe and Ito, as everywhere in the report
COLOURS = ("#0072B2", "#009E73", "#F0E442", "#D55E00", "#CC79A7", "#56B4E9", "#E69F00")  # CSF, GM, WM; more structures
PALETTE = "tab20"  # matplotlib's, for more structures than COLOURS


def chosen(wanted: Iterable[ScanKey], galleries: list[Gallery], limit: int) -> list[ScanKey]:
    """At most ``limit`` scans for a viewer: those ``wanted``, then those with the most extreme quality number, then any others.

    Only scans that were preprocessed to the end have a volume to view.
    """
    rows = {(gallery.cohort, row.scan_id): row for gallery in galleries for row in gallery.rows}
    rows = {key: row for key, row in rows.items() if row.usable or row.outliers}
    order = [key for key in wanted if key in rows] + sorted(rows, key=lambda key: -rows[key].worst_z)
    return list(dict.fromkeys(order))[:limit]


def read_volume(scan: Path, label_map: Path | None) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Read a scan and its label map.

    Returns:
        The scan (X, Y, Z) float32, the label map (X, Y, Z) uint8 or None, and their affine.

    Raises:
        One of ``UNREADABLE``: If a file can't be read, or the shapes differ.
    """
    image: Any = nib.load(scan)
    data = np.asarray(image.dataobj, dtype=np.float32)
    map_image: Any = None if label_map is None else nib.load(label_map)
    labels = None if map_image is None else np.asarray(map_image.dataobj, dtype=np.uint8)
    if labels is not None and labels.shape != data.shape:
        raise ValueError(
            f"the predicted label map {label_map and label_map.name} has {labels.shape} voxels, and the scan {data.shape}"
        )
    return data, labels, np.asarray(image.affine)


def colours_of(structures: Sequence[str]) -> dict[str, str]:
    """The colour of each structure in a viewer; more than twenty share colours."""
    if len(structures) <= len(COLOURS):
        return dict(zip(structures, COLOURS, strict=False))
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    palette = colormaps[PALETTE]
    return {name: to_hex(palette(place % palette.N)) for place, name in enumerate(structures)}


def viewer_page(
    data: np.ndarray, labels: np.ndarray | None, affine: np.ndarray, structures: Sequence[str] = TISSUES
) -> str:
    """An HTML page with a viewer of a preprocessed scan, which makes no network request.

    Args:
        data: The scan (X, Y, Z), 0 outside the brain mask.
        labels: Its label map (X, Y, Z), shown over the scan; None shows the outline of the brain mask.
        affine: Of both.
        structures: Those of the label map, label 1 first.
    """
    factor = max(1, round(VOXEL_MM / float(np.mean(np.linalg.norm(affine[:3, :3], axis=0)))))
    while True:
        page = _page(data, labels, affine, factor, structures)
        if len(page) <= MAX_BYTES:
            return page
        factor += 1


def _page(
    data: np.ndarray, labels: np.ndarray | None, affine: np.ndarray, factor: int, structures: Sequence[str]
) -> str:
    from matplotlib.colors import ListedColormap
    from nilearn import plotting  # takes seconds to import

    thinned, thinned_affine = _block_means(data, affine, factor)
    if labels is None:
        inside = thinned > 0
        overlay, opacity = inside & ~ndimage.binary_erosion(inside), 0.9
        colours: tuple[str, ...] = (OUTLINE_COLOUR, OUTLINE_COLOUR)
    else:
        middle = factor // 2
        overlay = labels[middle::factor, middle::factor, middle::factor][tuple(map(slice, thinned.shape))]
        overlay = np.pad(overlay, [(0, n - m) for n, m in zip(thinned.shape, overlay.shape, strict=True)])
        colours, opacity = tuple(colours_of(structures).values()), 0.5
        colours = colours * 2 if len(colours) == 1 else colours  # a map of colours has two ends
    with _frozen():
        view = plotting.view_img(
            nib.Nifti1Image(overlay.astype(np.uint8), thinned_affine),
            bg_img=nib.Nifti1Image(thinned, thinned_affine),
            threshold=0.5,
            cmap=ListedColormap(colours),
            vmin=0 if labels is None or len(structures) == 1 else 1,
            vmax=1 if labels is None else len(structures),
            symmetric_cmap=False,
            colorbar=False,
            opacity=opacity,
            black_bg=True,
            resampling_interpolation="nearest",
            cut_coords=tuple(_middle(thinned, thinned_affine)),
            title=None,
            width_view=640,
        )
    return view.get_standalone()


@contextmanager
def _frozen() -> Iterator[None]:
    """Exclude existing objects from garbage collection, which nilearn runs eight times a view: half of a report's time."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _block_means(data: np.ndarray, affine: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Means over blocks of ``factor`` voxels a side, and their affine; the last block is filled up with zeros."""
    if factor == 1:
        return data, affine
    sides = [math.ceil(n / factor) for n in data.shape]
    padded = np.pad(data, [(0, side * factor - n) for side, n in zip(sides, data.shape, strict=True)])
    blocks = padded.reshape(*(item for side in sides for item in (side, factor)))
    moved = affine @ np.diag([factor, factor, factor, 1.0])
    moved[:3, 3] = (affine @ [*([(factor - 1) / 2] * 3), 1.0])[:3]
    return blocks.mean(axis=(1, 3, 5)), moved


def _middle(data: np.ndarray, affine: np.ndarray) -> list[float]:
    """The world point (mm) of the brain's centre."""
    inside = np.argwhere(data > 0)
    centre = inside.mean(axis=0) if len(inside) else np.array(data.shape) / 2
    return [float(value) for value in (affine @ [*np.round(centre), 1.0])[:3]]
