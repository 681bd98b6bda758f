"""The template: nilearn's skull-stripped ICBM 2009a symmetric brain, with its tissue maps, on the study's grid."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurocohort.errors import InputError
from neurocohort.files import written_aside
from neurocohort.imaging.volume import Grid, Volume, sample

FIT_SPACING_MM = 2.0  # of the copies for the registration: a finer one takes more time and gains no accuracy


@dataclass(frozen=True)
class Template:
    """The template's T1-weighted brain.

    Attributes:
        fit: The brain for registrations: intensities 0 to 1, 0 outside the brain, on a grid along the world's axes.
        fit_mask: bool, its mask.
        brain: The brain on the study's grid.
        mask: bool, its mask.
        tissues: Probabilities of CSF, GM and WM on the study's grid, (3, X, Y, Z) float32; their sum is 1 inside ``mask``.
    """

    fit: Volume
    fit_mask: np.ndarray
    brain: Volume
    mask: np.ndarray
    tissues: np.ndarray

    @property
    def grid(self) -> Grid:
        """The study's grid."""
        return Grid(self.brain.data.shape, self.brain.affine)


def study_grid(spacing_mm: float, shape: tuple[int, ...]) -> Grid:
    """Return the study's grid: isotropic, along RAS, centred on the template's brain."""
    middle_mm = np.array([0.0, -18.0, 8.5])  # centre of the brain mask's bounding box
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = middle_mm - (np.array(shape) - 1) / 2 * spacing_mm
    return Grid(tuple(shape), affine)


def native_grid(spacing_mm: float, shape: tuple[int, ...]) -> Grid:
    """Return the study's grid in native space: isotropic, centred on the origin, which is the middle of a scan's foreground."""
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * spacing_mm
    return Grid(tuple(shape), affine)


def make_native_grid(path: Path, spacing_mm: float, shape: tuple[int, int, int]) -> None:
    """Write the grid of a study in native space, in the place of a template; arguments as for `make_template`."""
    grid = native_grid(spacing_mm, shape)
    with written_aside(path) as aside, open(aside, "wb") as stream:
        np.savez(stream, native_shape=np.array(grid.shape), affine=grid.affine)


def make_template(path: Path, spacing_mm: float, shape: tuple[int, int, int]) -> None:
    """Write the template for a study as one ``.npz``, because each job needs it and nilearn takes seconds to import.

    Args:
        path: The file.
        spacing_mm: Spacing of the study's grid.
        shape: Shape of the study's grid.
    """
    from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template

    loaders = load_mni152_template, load_mni152_gm_template, load_mni152_wm_template
    t1, gm, wm = (_volume(load(resolution=1)) for load in loaders)
    full_mask = Volume((t1.data > 0).astype(np.float32), t1.affine)
    grid = study_grid(spacing_mm, shape)
    fit_shape = tuple(int(n) for n in np.ceil(np.array(t1.data.shape) / FIT_SPACING_MM))
    fit_affine = np.diag([FIT_SPACING_MM] * 3 + [1.0])
    fit_affine[:3, 3] = t1.affine[:3, 3]
    fit_grid = Grid(fit_shape, fit_affine)
    mask = sample(full_mask, grid, smooth=True).data > 0.5
    gm_map, wm_map = (np.clip(sample(map_, grid, smooth=True).data, 0, 1) for map_ in (gm, wm))
    tissues = np.stack([np.clip(1 - gm_map - wm_map, 0, 1), gm_map, wm_map])
    tissues = np.where(mask, tissues / np.maximum(tissues.sum(axis=0), 1e-6), 0)
    with written_aside(path) as aside, open(aside, "wb") as stream:
        np.savez(
            stream,
            fit=sample(t1, fit_grid, smooth=True).data,
            fit_affine=fit_affine,
            fit_mask=sample(full_mask, fit_grid, smooth=True).data > 0.5,
            brain=sample(t1, grid, smooth=True).data * mask,
            affine=grid.affine,
            mask=mask,
            tissues=tissues.astype(np.float32),
        )


def read_template(path: Path | str) -> Template | Grid:
    """Read the file that make_template has written; of a study in native space, make_native_grid's, which is a grid."""
    with np.load(path) as arrays:
        if "native_shape" in arrays:
            return Grid(tuple(int(side) for side in arrays["native_shape"]), arrays["affine"])
        return Template(
            fit=Volume(arrays["fit"], arrays["fit_affine"]),
            fit_mask=arrays["fit_mask"],
            brain=Volume(arrays["brain"], arrays["affine"]),
            mask=arrays["mask"],
            tissues=arrays["tissues"],
        )


def read_brain_template(path: Path | str) -> Template:
    """Read the template of a study of brains. Raises InputError for a study in native space, which has none."""
    found = read_template(path)
    if isinstance(found, Grid):
        raise InputError(f"{path} is the grid of a study in native space; expected a template.")
    return found


def grid_of_study(template: Template | Grid) -> Grid:
    """Return the study's grid, which in native space is all that a study has instead of a template."""
    return template if isinstance(template, Grid) else template.grid


def _volume(image) -> Volume:
    return Volume(np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine, dtype=np.float64))
