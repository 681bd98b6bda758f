"""Label maps of a user's own structures: their values become the labels 1 to n, in the order of the structures' names."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from neurocohort.errors import ScanExcluded
from neurocohort.nifti_files import spatial_shape
from neurocohort.notes import Kind
from neurocohort.sources.label_tables import own_table, read_label_table
from neurocohort.sources.local_images import read_image
from neurocohort.sources.local_labels import check_grid
from neurocohort.sources.raw_bids import STAGE, Ingested, gzipped
from neurocohort.text import counted, few

LARGEST_FRACTION = 1e-3  # of a value that counts as whole: programs that scale values round them
ALIGNED = 2  # NIfTI's code for coordinates that are neither a scanner's nor an atlas'


@dataclass
class Structures:
    """The structures of a cohort's label maps, and what was found in the maps.

    Attributes:
        values: By name, its values in the label maps.
        maps: Number of label maps.
        absent: By name, the number of maps without it.
        others: By value that belongs to no structure, the number of maps with it.
    """

    values: dict[str, list[int]]
    maps: int = 0
    absent: Counter[str] = field(default_factory=Counter)
    others: Counter[int] = field(default_factory=Counter)

    def note(self, collected: Ingested) -> None:
        """Note structures that are absent from label maps, and values that became background."""
        for name, count in self.absent.items():
            values = ", ".join(map(str, self.values[name]))
            what = (
                f"None of the {self.maps} label maps has {name} (value {values}); is that its value?"
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


def take_structures(collected: Ingested, target: str, original: Path, image_path: Path, structures: Structures) -> None:
    """Write a user's label map into the cohort's folder, with labels 1 to n, and count what it has.

    Args:
        collected: The ingest.
        target: The path in the cohort's folder, a .nii.gz.
        original: The label map: a .nii.gz, .nii or Analyze pair.
        image_path: Its T1-weighted image.
        structures: Those of the cohort.

    Raises:
        ScanExcluded: If the file can't be read, is not on the image's grid or has values that aren't whole numbers, or if its own
            ``_dseg.tsv`` gives a structure another value.
    """
    found = read_image(collected, original)
    labels: Any = found.image
    check_grid(labels, nib.load(image_path))
    _check_own_table(original, structures)
    values = np.asarray(labels.dataobj).reshape(spatial_shape(labels.shape, STAGE))
    whole = np.rint(values)
    if not np.isfinite(whole).all() or (np.abs(values - whole) > LARGEST_FRACTION).any():
        example = values[~(np.abs(values - whole) <= LARGEST_FRACTION)].flat[0]
        raise ScanExcluded(STAGE, f"it has the value {example:g}; expected whole numbers, one for each structure.")
    renumbered = nib.Nifti1Image(_renumbered(whole, structures), labels.affine)
    renumbered.header.set_xyzt_units("mm")
    renumbered.set_qform(labels.affine, ALIGNED)
    collected.write_image(target, gzipped(renumbered), original)


def _renumbered(values: np.ndarray, structures: Structures) -> np.ndarray:
    """The labels 0 to n of whole ``values``, uint8; counts the map in ``structures``."""
    found, place = np.unique(values, return_inverse=True)
    label_of = {value: label for label, own in enumerate(structures.values.values(), start=1) for value in own}
    labels = np.array([label_of.get(int(value), 0) for value in found], dtype=np.uint8)
    structures.maps += 1
    structures.others.update(int(value) for value in found if value and int(value) not in label_of)
    structures.absent.update(name for label, name in enumerate(structures.values, start=1) if label not in labels)
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
