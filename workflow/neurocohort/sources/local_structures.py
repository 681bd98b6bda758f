"""Label maps and masks of a user's own structures: they become one map with the labels 1 to n, in the order of the names."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from neurocohort.errors import ScanExcluded
from neurocohort.files import keep_private
from neurocohort.nifti_files import spatial_shape
from neurocohort.notes import Kind
from neurocohort.sources.label_tables import own_table, read_label_table
from neurocohort.sources.local_images import read_image
from neurocohort.sources.local_labels import check_grid
from neurocohort.sources.local_plan import LocalScan
from neurocohort.sources.raw_bids import STAGE, Ingested, gzipped
from neurocohort.text import counted, few

LARGEST_FRACTION = 1e-3  # of a value that counts as whole: programs that scale values round them
ALIGNED = 2  # NIfTI's code for coordinates that are neither a scanner's nor an atlas'


@dataclass
class Structures:
    """The structures of a cohort's reference segmentations, and what was found in them.

    Attributes:
        values: By name, its values in the label maps.
        masks: By name, the structures with a mask of their own, and where it is.
        maps: Number of reference segmentations.
        absent: By name, the number of maps without it.
        others: By value that belongs to no structure, the number of maps with it.
    """

    values: dict[str, list[int]]
    masks: dict[str, str] = field(default_factory=dict)
    maps: int = 0
    absent: Counter[str] = field(default_factory=Counter)
    others: Counter[int] = field(default_factory=Counter)

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, label 1 first: a mask's label is after those of the label map."""
        return *self.values, *self.masks

    def count(self, labels: np.ndarray) -> None:
        """Count a reference segmentation with the labels 1 to n."""
        self.maps += 1
        there = np.bincount(labels.ravel(), minlength=len(self.names) + 1) > 0
        self.absent.update(name for label, name in enumerate(self.names, start=1) if not there[label])

    def note(self, collected: Ingested) -> None:
        """Note structures that are absent from label maps, and values that became background."""
        for name, count in self.absent.items():
            values = ", ".join(map(str, self.values.get(name, ())))
            where, doubt = (f"value {values}", "its value") if values else (self.masks[name], "its mask")
            what = (
                f"None of the {self.maps} label maps has {name} ({where}); is that {doubt}?"
                if count == self.maps
                else f"{count} of the {self.maps} label maps don't have {name}; there its reference volume is 0."
            )
            collected.notes.add(Kind.LABEL_MAPS, what)
        if self.others:
            shown = few(f"{value} ({counted(count, 'map')})" for value, count in sorted(self.others.items()))
            sentence = (
                f"{len(self.others)} value(s) of the label maps belong to no structure and became background: {shown}."
            )
            collected.notes.add(Kind.LABEL_MAPS, sentence)


def take_structures(
    collected: Ingested, target: str, scan: LocalScan, image_path: Path, structures: Structures
) -> None:
    """Write a scan's reference segmentation into the cohort's folder, with labels 1 to n, and count what it has.

    Masks are drawn over the label map, in their order.

    Args:
        collected: The ingest.
        target: The path in the cohort's folder, a .nii.gz.
        scan: The scan, with its label map and masks: .nii.gz, .nii or Analyze pairs.
        image_path: Its T1-weighted image.
        structures: Those of the cohort.

    Raises:
        ScanExcluded: If a file can't be read, is not on the image's grid or has values that aren't whole numbers, if the label
            map's own ``_dseg.tsv`` gives a structure another value, or if a mask has other values than 0 and one more.
    """
    reference: Any = nib.load(image_path)
    labels = np.zeros(spatial_shape(reference.shape, STAGE), dtype=np.uint8)
    if scan.labels:
        labels = _renumbered(_whole_values(collected, scan.labels, reference), structures)
        _check_own_table(scan.labels, structures)
    for label, name in enumerate(structures.masks, start=len(structures.values) + 1):
        labels[_in_mask(collected, scan.masks[name], reference)] = label
    structures.count(labels)
    image = nib.Nifti1Image(labels, reference.affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(reference.affine, ALIGNED)
    originals = [path for path in (scan.labels, *scan.masks.values()) if path]
    collected.write_image(target, gzipped(image), originals[0])
    for original in originals[1:]:
        keep_private(collected.folder / target, original)


def _whole_values(collected: Ingested, original: Path, reference: Any) -> np.ndarray:
    """The values of a label map on the grid of its image, as whole numbers."""
    labels: Any = read_image(collected, original).image
    check_grid(labels, reference)
    values = np.asarray(labels.dataobj).reshape(spatial_shape(labels.shape, STAGE))
    whole = np.rint(values)
    if not np.isfinite(whole).all() or (np.abs(values - whole) > LARGEST_FRACTION).any():
        example = values[~(np.abs(values - whole) <= LARGEST_FRACTION)].flat[0]
        raise ScanExcluded(STAGE, f"it has the value {example:g}; expected whole numbers, one for each structure.")
    return whole


def _in_mask(collected: Ingested, original: Path, reference: Any) -> np.ndarray:
    """The voxels of a mask, bool."""
    try:
        values = _whole_values(collected, original, reference)
    except ScanExcluded as exclusion:
        raise ScanExcluded(STAGE, f"{original.name}: {exclusion.reason}") from None
    found = np.unique(values)
    if found[0] < 0 or np.count_nonzero(found) > 1:
        shown = few(f"{value:g}" for value in found)
        raise ScanExcluded(
            STAGE,
            f"{original.name} has the values {shown}; expected a mask with 0 and one other value. A map of several structures is "
            "a label map: see `labels`.",
        )
    return values > 0


def _renumbered(values: np.ndarray, structures: Structures) -> np.ndarray:
    """The labels 0 to n of whole ``values``, uint8; counts the values without a structure."""
    found, place = np.unique(values, return_inverse=True)
    label_of = {value: label for label, own in enumerate(structures.values.values(), start=1) for value in own}
    labels = np.array([label_of.get(int(value), 0) for value in found], dtype=np.uint8)
    structures.others.update(int(value) for value in found if value and int(value) not in label_of)
    return labels[place].reshape(values.shape)


def _check_own_table(original: Path, structures: Structures) -> None:
    """Raise ScanExcluded if the table of this label map gives a structure other values than those of the cohort."""
    table = own_table(original)
    if not table.is_file():
        return
    for name, values in read_label_table(table).items():
        expected = structures.values.get(name)
        if expected is not None and not set(values) <= set(expected):
            shown, wanted = (", ".join(map(str, one)) for one in (values, expected))
            raise ScanExcluded(
                STAGE,
                f"{table.name} gives {name} the value {shown}, and the cohort's is {wanted}; give all values under the cohort's "
                f"`labels`, such as {name}: [{', '.join(map(str, sorted({*values, *expected})))}], or correct the table.",
            )
