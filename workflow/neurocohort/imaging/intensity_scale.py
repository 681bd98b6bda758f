"""The common intensity scale of all scans that are read: air is 0, nothing is negative, white matter is a few hundred.

A scanner's units have no meaning, and programs add offsets: air may be stored as 1024 or -1024, a scan may be between 0 and 1e-6,
MP2RAGE images are around 0. All later stages expect air to be 0, so each scan is scaled when it is read. If air is 0, values are
multiplied by a power of two only, which changes no bit of any later ratio.
"""

import numpy as np

from neurocohort.errors import ScanExcluded

PLAIN_BORDER = 0.8  # fraction of the outer faces with one value in a painted background; the brain may touch the border
SAMPLE_STEP_MM = 2.5  # statistics need no more voxels
LOW_PERCENTILE, HIGH_PERCENTILE = 0.1, 99.5  # robust to a few dead or saturated voxels
# In units of the content's range. A background may be slightly above the content's lowest values (interpolation can cause ringing
# below it), and below the content by no more than the second limit; any other value is a mark and no intensity.
RINGING, LARGEST_GAP = 0.05, 0.5
SCALED_HIGH = 1024.0  # the high percentile becomes a value from half of it to it
SMALLEST_CONTENT = 2.0**-10  # above 0, so that content differs from a painted background
LARGEST_VALUE = 2.0**120  # differences of larger values overflow 32-bit numbers
MINIMUM_LEVELS = 256  # distinct 32-bit numbers within the content's range


def to_common_scale(data: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """Return the image ``factor * (data - air)``, clipped at 0, float32.

    ``a * data + b`` with a > 0 gives the same result except for rounding and a factor between 1 and 2. Voxels of a painted
    background become 0 for any value of it, and all other voxels stay above 0.

    Args:
        data: float32, finite; may be changed in place.
        spacing_mm: Voxel spacing, (3,).

    Raises:
        ScanExcluded: If the image is constant, or if 32-bit numbers are too coarse for its range, as with a large offset.
    """
    steps = tuple(slice(None, None, max(1, round(SAMPLE_STEP_MM / mm))) for mm in spacing_mm)
    if max(-float(data.min()), float(data.max())) > LARGEST_VALUE:
        data *= np.float32(2.0**-10)
    some = data[steps]
    fill = _painted_value(data, some)
    content = some[some != fill] if fill is not None else some.ravel()
    if not content.size:
        raise ScanExcluded("read", "the image is empty or constant")
    air, high = (float(value) for value in np.percentile(content, (LOW_PERCENTILE, HIGH_PERCENTILE)))
    if fill is not None and air - LARGEST_GAP * (high - air) <= fill <= air + RINGING * (high - air):
        air = fill
    _check_levels(air, high)

    painted = data == np.float32(fill) if fill is not None and (air != fill or data.min() < fill) else None
    if air != 0:
        data -= np.float32(air)
    exponent = int(np.floor(np.log2(SCALED_HIGH) - np.log2(high - air)))
    for part in (exponent // 2, exponent - exponent // 2):  # the factor itself may be too large for 32 bits
        if part:
            data *= np.float32(2.0**part)
    if painted is not None:
        np.maximum(data, np.float32(SMALLEST_CONTENT), out=data)
        data[painted] = 0
    elif air != 0:
        np.maximum(data, 0, out=data)
    return data


def background_fraction(data: np.ndarray) -> tuple[float, float]:
    """Return the most frequent value on the six outer faces of an image, and the fraction of voxels with it (0 to 1).

    The value is the median, which is the most frequent one if the fraction is above 0.5.
    """
    faces = np.concatenate([data.take(end, axis=axis).ravel() for axis in range(3) for end in (0, -1)])
    value = np.partition(faces, len(faces) // 2)[len(faces) // 2]
    return float(value), float(np.mean(faces == value))


def _painted_value(data: np.ndarray, some: np.ndarray) -> float | None:
    """The value of a painted background, which is on the border or far below all others; None without one."""
    value, fraction = background_fraction(data)
    if fraction >= PLAIN_BORDER:
        return value
    lowest = some.min()
    rest = some[some != lowest]
    low, high = float(rest.min()), float(np.percentile(rest, HIGH_PERCENTILE))
    return float(lowest) if low - float(lowest) > LARGEST_GAP * (high - low) else None


def _check_levels(air: float, high: float) -> None:
    if not high > air:
        raise ScanExcluded("read", "the image is empty or constant")
    # A small range on a large offset: 1e6 to 1e6 + 1 has sixteen values.
    levels = (high - air) / float(np.spacing(np.float32(max(abs(air), abs(high)))))
    if levels < MINIMUM_LEVELS:
        raise ScanExcluded(
            "read",
            f"the intensities lie between {air:.9g} and {high:.9g}, a range in which 32-bit numbers have only {levels:.0f} "
            f"values, expected at least {MINIMUM_LEVELS}; subtract the offset from the image",
        )
