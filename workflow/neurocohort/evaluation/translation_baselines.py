"""What a translation must beat: the mean image of the target, and regressions of a voxel's intensity.

All are fitted on scans of the development part only, on the same images as the network gets.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import SplineTransformer

from neurocohort.dataset.pack import LEVELS

VOXELS_OF_A_SCAN = 20_000  # drawn for the regressions, or all of a smaller brain
KNOTS = 7  # of the cubic spline of an intensity
MEAN_IMAGE, INTENSITY, INTENSITY_AND_PLACE = "mean_image", "intensity", "intensity_and_place"
BASELINES = (MEAN_IMAGE, INTENSITY, INTENSITY_AND_PLACE)
Scans = Callable[[], Iterable[np.ndarray]]


@dataclass(frozen=True)
class TranslationBaselines:
    """The fitted baselines.

    Args:
        mean: The mean of the development scans, (C + 1, X, Y, Z) float32 in levels from 0 to 255; its last channel is the target.
        by_intensity: From the source channels of a voxel to its target.
        by_place: From the source channels of a voxel, and ``mean`` at its place, to its target.
    """

    mean: np.ndarray
    by_intensity: Pipeline
    by_place: Pipeline

    def predicted(self, source: np.ndarray) -> dict[str, np.ndarray]:
        """The image that each baseline predicts, (X, Y, Z) float32 from 0 to 1; 0 outside the brain.

        ``source``: the source channels of a scan, (C, X, Y, Z) uint8.
        """
        inside = (source > 0).any(axis=0)
        columns = source[:, inside].T.astype(np.float32)
        places = self.mean[:, inside].T
        found = {
            MEAN_IMAGE: places[:, -1],
            INTENSITY: self.by_intensity.predict(columns),
            INTENSITY_AND_PLACE: self.by_place.predict(np.hstack([columns, places])),
        }
        images = {}
        for name, values in found.items():
            images[name] = np.zeros(inside.shape, dtype=np.float32)
            images[name][inside] = np.clip(values / LEVELS, 0, 1)
        return images


def fit_baselines(scans: Scans, seed: int) -> TranslationBaselines:
    """Fit the baselines; the scans are read twice, one at a time.

    Args:
        scans: Yields the development scans, (C + 1, X, Y, Z) uint8 each, the target last.
        seed: Of the draw of voxels.
    """
    total, count = np.zeros(()), 0
    for scan in scans():
        total, count = total + scan.astype(np.float64), count + 1
    mean = (total / count).astype(np.float32)
    generator, drawn = np.random.default_rng(seed), []
    for scan in scans():
        inside = np.flatnonzero((scan > 0).any(axis=0))
        chosen = generator.choice(inside, min(VOXELS_OF_A_SCAN, len(inside)), replace=False)
        drawn.append(np.hstack([image.reshape(len(image), -1)[:, chosen].T for image in (scan, mean)]))
    voxels = np.concatenate(drawn).astype(np.float32)
    channels = len(mean) - 1
    source, target, places = voxels[:, :channels], voxels[:, channels], voxels[:, channels + 1 :]
    return TranslationBaselines(mean, _fitted(source, target), _fitted(np.hstack([source, places]), target))


def _fitted(columns: np.ndarray, target: np.ndarray) -> Pipeline:
    """A sum of cubic splines, one for each column."""
    spline = SplineTransformer(n_knots=KNOTS, knots="quantile", extrapolation="constant")
    return make_pipeline(spline, LinearRegression()).fit(columns, target)
