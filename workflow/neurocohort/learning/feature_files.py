"""The file of a network's features: arrays of numbers and texts in numpy's .npz format, without pickles. Needs no torch."""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from neurocohort.errors import InputError
from neurocohort.files import written_aside

FEATURES = "features.npz"  # next to the network's predictions.tsv
KEYS = ("cohort", "part", "scan_id")
VALUES = "features"


@dataclass(frozen=True)
class ScanFeatures:
    """The features of one network.

    Args:
        scans: Columns cohort, part and scan_id, one row for each scan. ``part`` is that of the scan for this network: train,
            validation, held-out or external.
        values: (rows, features) float32.
    """

    scans: pd.DataFrame
    values: np.ndarray

    def of_part(self, *parts: str) -> "ScanFeatures":
        """The rows of these parts."""
        chosen = self.scans["part"].isin(parts).to_numpy()
        return ScanFeatures(self.scans[chosen].reset_index(drop=True), self.values[chosen])

    def of_scans(self, table: pd.DataFrame) -> np.ndarray:
        """The features of the scans of ``table`` (cohort, scan_id), (rows, features); NaN for a scan that isn't here."""
        key = ["cohort", "scan_id"]
        row = table[key].merge(self.scans[key].assign(row=range(len(self.scans))), on=key, how="left", validate="m:1")[
            "row"
        ]
        found = np.full((len(table), self.values.shape[1]), np.nan, dtype=np.float32)
        known = row.notna().to_numpy()
        found[known] = self.values[row[known].astype(int)]
        return found


def write_features(path: Path, samples: pd.DataFrame, values: np.ndarray) -> None:
    """Write the features of the rows of ``samples``, (rows, features), in their order; the same bytes for the same features."""
    arrays = {name: samples[name].astype(str).to_numpy(dtype=np.str_) for name in KEYS}
    with written_aside(path) as aside, open(aside, "wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays, **{VALUES: values.astype(np.float32)})


def write_no_features(path: Path) -> None:
    """Write the empty file of a training that left no model."""
    write_features(path, pd.DataFrame(columns=list(KEYS)), np.zeros((0, 0)))


def read_features(path: Path) -> ScanFeatures:
    """The features in the file ``path``. Raises InputError where it can't be read or isn't such a file."""
    expected = f"expected the arrays {', '.join(KEYS)} and {VALUES} of {path.name}; delete it and run again to have it rebuilt."
    try:
        with np.load(path, allow_pickle=False) as stored:
            if absent := [name for name in (*KEYS, VALUES) if name not in stored]:
                raise InputError(f"{path} has no {', '.join(absent)}; {expected}")
            scans = pd.DataFrame({name: stored[name] for name in KEYS})
            values = stored[VALUES]
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"{path} can't be read ({error}); {expected}") from error
    if values.ndim != 2 or len(values) != len(scans):
        raise InputError(f"{path} has {len(scans)} scans and features of shape {values.shape}; {expected}")
    return ScanFeatures(scans, values)
