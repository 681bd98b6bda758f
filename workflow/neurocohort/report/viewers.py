"""The volume viewer of a scan's page (nilearn's, with everything inside), and the choice of the scans that get one."""

import gc
import math
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage

from neurocohort.imaging.tissues import TISSUES

VOXEL_MM = 2.0  # finer grids are thinned out to about this, at which a viewer takes some 0.6 MB
MAX_BYTES = 3_000_000  # of a viewer: its page, with the mosaic beside it, stays below 4 MB
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    zlib.error,
    nib.filebasedimages.ImageFileError,
)  # what a broken image raises
OUTLINE_COLOUR = "#E69F00"  # Okabe and Ito, as everywhere in the report
TISSUE_COLOURS = ("#0072B2", "#009E73", "#F0E442")  # CSF, GM, WM


def errors_by_scan(predictions: pd.DataFrame, task: str) -> pd.Series:
    """How wrong each held-out scan's prediction is, by (cohort, scan_id), least first, ties by scan_id; NaN left out.

    Absolute error of a regression; 1 less the true class's probability; 1 less the mean Dice over the tissues.
    """
    rows = predictions[predictions["part"] == "held-out"]
    if task == "segmentation":
        error = 1 - rows["dice"]
    elif task == "regression":
        error = (rows["prediction"] - rows["target"]).abs()
    elif "probability_0" in rows:
        columns = [f"probability_{code:.0f}" for code in rows["target"]]
        error = pd.Series(
            [1 - rows.at[index, name] for index, name in zip(rows.index, columns, strict=True)], rows.index
        )
    else:
        error = (rows["target"] - rows["prediction"]).abs()
    by_scan = error.groupby([rows["cohort"].astype(str), rows["scan_id"]]).mean().dropna().rename("error").reset_index()
    return by_scan.sort_values(["error", "scan_id"], kind="stable").set_index(["cohort", "scan_id"])["error"]


def cases(errors: pd.Series) -> dict[str, tuple[str, str]]:
    """The best, the median and the worst of `errors_by_scan`, as (cohort, scan_id); fewer where there are fewer scans."""
    if errors.empty:
        return {}
    places = {"best": 0, "median": (len(errors) - 1) // 2, "worst": len(errors) - 1}
    return {name: tuple(map(str, errors.index[place])) for name, place in places.items()}


def chosen(wanted: Iterable[tuple[str, str]], galleries: list[dict], limit: int) -> list[tuple[str, str]]:
    """At most ``limit`` scans as (cohort, scan_id): those ``wanted``, then those with the most extreme quality number, then
    any others in their order. Only scans that were preprocessed to the end have a volume to view."""
    rows = {(gallery["cohort"], row["scan_id"]): row for gallery in galleries for row in gallery["rows"]}
    rows = {key: row for key, row in rows.items() if row["status"] == "ok" or row["outliers"]}
    extreme = {key: max((abs(found["z"]) for found in row["outliers"]), default=0.0) for key, row in rows.items()}
    order = [key for key in wanted if key in rows] + sorted(rows, key=lambda key: -extreme[key])
    return list(dict.fromkeys(order))[:limit]


def read_volume(scan: Path, label_map: Path | None) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """The scan (X, Y, Z) float32, its label map (X, Y, Z) uint8 or None, and their affine. Raises one of ``UNREADABLE``."""
    image = nib.load(scan)
    data = np.asarray(image.dataobj, dtype=np.float32)
    labels = None if label_map is None else np.asarray(nib.load(label_map).dataobj, dtype=np.uint8)
    if labels is not None and labels.shape != data.shape:
        raise ValueError(
            f"the predicted label map {label_map.name} has {labels.shape} voxels, and the scan {data.shape}"
        )
    return data, labels, np.asarray(image.affine)


def viewer_page(data: np.ndarray, labels: np.ndarray | None, affine: np.ndarray) -> str:
    """An HTML page with a viewer of a preprocessed scan, which makes no request.

    Over the scan lie its ``labels`` (1 CSF, 2 GM, 3 WM), or the outline of its brain mask, outside of which a preprocessed scan
    is 0. Arrays and affine as of `read_volume`.
    """
    factor = max(1, round(VOXEL_MM / float(np.mean(np.linalg.norm(affine[:3, :3], axis=0)))))
    while True:
        page = _page(data, labels, affine, factor)
        if len(page) <= MAX_BYTES:
            return page
        factor += 1


def _page(data: np.ndarray, labels: np.ndarray | None, affine: np.ndarray, factor: int) -> str:
    from matplotlib.colors import ListedColormap
    from nilearn import plotting  # takes seconds, which a report without a viewer need not spend

    thinned, thinned_affine = _block_means(data, affine, factor)
    if labels is None:
        inside = thinned > 0
        overlay, colours, opacity = inside & ~ndimage.binary_erosion(inside), (OUTLINE_COLOUR,) * 2, 0.9
    else:
        middle = factor // 2
        overlay = labels[middle::factor, middle::factor, middle::factor][tuple(map(slice, thinned.shape))]
        overlay, colours, opacity = np.pad(
            overlay, [(0, n - m) for n, m in zip(thinned.shape, overlay.shape, strict=True)]
        ), TISSUE_COLOURS, 0.5  # fmt: skip
    with _frozen():
        view = plotting.view_img(
            nib.Nifti1Image(overlay.astype(np.uint8), thinned_affine),
            bg_img=nib.Nifti1Image(thinned, thinned_affine),
            threshold=0.5,
            cmap=ListedColormap(colours),
            vmin=0 if labels is None else 1,
            vmax=1 if labels is None else len(TISSUES),
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
    """Keep what there is out of the garbage collector, which nilearn calls eight times a view: half of a report's time."""
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
