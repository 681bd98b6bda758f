"""The quality picture of one scan: slices in native and template space with contours, as one WebP."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from neurocohort.files import written_aside
from neurocohort.imaging.template import Template
from neurocohort.imaging.volume import Volume, sample, world_grid

PANEL = 116  # pixels, width and height of a slice
SLICES_PER_ROW = 8
NATIVE_SPACING_MM = 2.0
TITLE_HEIGHT = 18  # pixels
BRAIN_COLOUR = (230, 159, 0)  # Okabe-Ito orange: the mask found on the scan
TEMPLATE_COLOUR = (86, 180, 233)  # Okabe-Ito sky blue: the template's contours
WEBP_QUALITY = 80
ROWS = "rows 1-2: scan with brain mask; rows 3-4: registered brain, template contours"
NATIVE_ROWS = "rows 1-2: scan with foreground; rows 3-4: image on the study's grid"

Contour = tuple[np.ndarray, tuple[int, int, int]]  # mask, colour


def draw_mosaic(scan: Volume, brain_mask: np.ndarray, registered: np.ndarray, template: Template) -> Image.Image:
    """Draw two rows of the scan with its brain mask, and two of the registered brain with the template's contours.

    Args:
        scan: The raw scan.
        brain_mask: bool, same shape as ``scan``.
        registered: The brain on the study's grid.
        template: The template.
    """
    grid = world_grid(scan, np.ones(scan.data.shape, dtype=bool), NATIVE_SPACING_MM, margin_mm=0.0)
    native_mask = sample(Volume(brain_mask, scan.affine), grid).data > 0.5
    native = _to_grey(sample(scan, grid).data, native_mask)
    contours = [(template.tissues[2] > 0.5, TEMPLATE_COLOUR), (template.mask, TEMPLATE_COLOUR)]
    rows = [_row(native, [(native_mask, BRAIN_COLOUR)], native_mask, axis) for axis in (2, 0)]
    rows += [_row(_to_grey(registered, template.mask), contours, template.mask, axis) for axis in (2, 0)]
    return Image.fromarray(np.vstack(rows))


def draw_native_mosaic(scan: Volume, foreground: np.ndarray, on_grid: Volume) -> Image.Image:
    """Draw two rows of a scan that is not registered, with its foreground, and two of the image on the study's grid.

    Args:
        scan: The scan, with intensities from 0 to 1.
        foreground: bool, same shape.
        on_grid: The image on the study's grid, 0 to 1.
    """
    everywhere = np.ones(scan.data.shape, dtype=bool)
    grid = world_grid(scan, everywhere, NATIVE_SPACING_MM, margin_mm=0.0)
    mask = sample(Volume(foreground, scan.affine), grid).data > 0.5
    native, grey = ((np.clip(data, 0, 1) * 255).astype(np.uint8) for data in (sample(scan, grid).data, on_grid.data))
    whole = np.ones(grey.shape, dtype=bool)
    rows = [_row(native, [(mask, BRAIN_COLOUR)], mask, axis) for axis in (2, 0)]
    rows += [_row(grey, [], whole, axis) for axis in (2, 0)]
    return Image.fromarray(np.vstack(rows))


def write_mosaic(path: Path, mosaic: Image.Image, scan_id: str, rows: str = ROWS) -> None:
    """Write the mosaic with a title that names the scan and its ``rows``."""
    canvas = Image.new("RGB", (mosaic.width, mosaic.height + TITLE_HEIGHT))
    canvas.paste(mosaic, (0, TITLE_HEIGHT))
    title = f"{scan_id}   {rows}"
    ImageDraw.Draw(canvas).text((4, 3), title, fill=(255, 255, 255))
    with written_aside(path) as aside:
        canvas.save(aside, "WEBP", quality=WEBP_QUALITY, method=4)


def _to_grey(data: np.ndarray, mask: np.ndarray) -> np.ndarray:
    inside = data[mask] if mask.any() else data
    high = np.percentile(inside, 99.5)
    low = min(0.0, float(np.percentile(inside, 0.5)))
    return (np.clip((data - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)


def _row(data: np.ndarray, contours: list[Contour], around: np.ndarray, axis: int) -> np.ndarray:
    present = np.flatnonzero(around.any(axis=tuple(a for a in range(3) if a != axis)))
    first, last = (present[0], present[-1]) if len(present) else (0, data.shape[axis] - 1)
    picked = np.linspace(first, last, SLICES_PER_ROW + 2)[1:-1].round().astype(int)
    return np.hstack([_panel(data, contours, axis, index) for index in picked])


def _panel(data: np.ndarray, contours: list[Contour], axis: int, index: int) -> np.ndarray:
    # Superior or anterior is up, as radiologists have it; the left of the picture is the left of the head (neurological).
    flat = np.take(data, index, axis=axis).T[::-1]
    factor = PANEL / max(flat.shape)
    grey = ndimage.zoom(flat.astype(np.float32), factor, order=1)
    colour = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    for mask, rgb in contours:
        inside = ndimage.zoom(np.take(mask, index, axis=axis).T[::-1].astype(np.float32), factor, order=1) > 0.5
        colour[inside & ~ndimage.binary_erosion(inside)] = rgb
    panel = np.zeros((PANEL, PANEL, 3), dtype=np.uint8)
    top, left = ((PANEL - n) // 2 for n in colour.shape[:2])
    panel[top : top + colour.shape[0], left : left + colour.shape[1]] = colour[:PANEL, :PANEL]
    return panel
