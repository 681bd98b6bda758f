"""Files of synthetic cohorts: archives, NIfTI and Analyze images, and the truth, all with reproducible bytes."""

import gzip
import io
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from neurocohort.files import write_table, write_text, written_aside
from neurocohort.synthetic.heads import Head

ARCHIVE_TIME = 1_100_000_000  # seconds since 1970, of every member


def nifti_gz(image: np.ndarray, affine: np.ndarray) -> bytes:
    """Return a gzipped NIfTI-1 with sform and qform in scanner space."""
    nifti = nib.Nifti1Image(image, affine)
    nifti.header.set_xyzt_units("mm", "sec")
    nifti.set_sform(affine, 1)
    nifti.set_qform(affine, 1)
    return gzipped(nifti.to_bytes())


def analyze_pair(image: np.ndarray, spacing_mm: tuple[float, float, float]) -> tuple[bytes, bytes]:
    """Return header and voxels of a big-endian Analyze 7.5 image with a fourth axis of length 1. It stores no orientation."""
    header = nib.AnalyzeHeader(endianness=">")
    header.set_data_dtype(image.dtype)
    header.set_data_shape((*image.shape, 1))
    header.set_zooms((*spacing_mm, 1.0))
    return header.binaryblock, image.astype(image.dtype.newbyteorder(">")).tobytes(order="F")


def gzipped(content: bytes) -> bytes:
    """Compress without a time or a name in the header."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=3, mtime=0) as stream:
        stream.write(content)
    return buffer.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    """Write the members in the order of their names; compressed if ``path`` ends in .gz."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(members):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(members[name]), ARCHIVE_TIME, 0o644
            archive.addfile(info, io.BytesIO(members[name]))
    content = buffer.getvalue()
    with written_aside(path) as aside:
        aside.write_bytes(gzipped(content) if path.suffix == ".gz" else content)


@dataclass(frozen=True)
class Truth:
    """The first columns of a scan's row in truth.tsv."""

    id: str
    age: float
    sex: str
    site: str
    cdr: float | None
    usable: int


def write_truth(folder: Path, heads: list[tuple[Truth, Head]]) -> None:
    """Write ``truth/``: truth.tsv with volumes (mL) and poses, and each head's tissue labels and affine from native to MNI."""
    rows = []
    for truth, head in heads:
        volumes = {f"{name}_ml": volume for name, volume in head.volumes_ml.items()}
        rows.append({**asdict(truth), **volumes, **head.pose})
        with written_aside(folder / "truth" / f"{truth.id}_dseg.nii.gz") as aside:
            aside.write_bytes(nifti_gz(head.labels, head.affine))
        lines = [" ".join(f"{value:.9f}" for value in line) for line in head.native_to_mni]
        write_text(folder / "truth" / f"{truth.id}_from-native_to-MNI_affine.txt", "\n".join(lines) + "\n")
    write_table(folder / "truth" / "truth.tsv", pd.DataFrame(rows))
