"""IXI's diffusion-weighted images: single volumes of an archive, and two tables for all participants, become a series each.

The names of the files and volumes are as published; the archive itself was not at hand (docs/diffusion.md).
"""

import re
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from neurocohort.errors import InputError, ScanExcluded
from neurocohort.notes import Kind
from neurocohort.sources.archives import Oversized, stream_members
from neurocohort.sources.columns import DIFFUSION_COLUMNS, DiffusionFiles
from neurocohort.sources.diffusion import joined, targets_of
from neurocohort.sources.gradients import read_gradients
from neurocohort.sources.raw_bids import STAGE, Ingested

NAME = re.compile(r"IXI([0-9]{3})-(?:Guys|HH|IOP)-[0-9]{4}-DTI-([0-9]{2})\.nii\.gz")
FILES = DiffusionFiles(Path("IXI-DTI.tar"), Path("bvals.txt"), Path("bvecs.txt"))


def own_files(files: Sequence[Path | str]) -> tuple[list[Path], DiffusionFiles]:
    """Separate the other files of a cohort from the archive and the tables of the diffusion-weighted images.

    Raises:
        InputError: If one of the three is absent.
    """
    by_name = {Path(path).name: Path(path) for path in files}
    if absent := [name.name for name in FILES if name.name not in by_name]:
        raise InputError(
            f"FA and MD of IXI need the file(s) {', '.join(absent)}; found: {', '.join(by_name) or 'nothing'}."
        )
    own = DiffusionFiles(*(by_name[name.name] for name in FILES))
    return [Path(path) for path in files if Path(path) not in own], own


def take_series(collected: Ingested, files: DiffusionFiles, wanted: Collection[int]) -> dict[int, dict[str, str] | str]:
    """Write a series with its tables for each participant of the archive.

    The volumes are kept in a temporary folder until the archive was read, because its order is not known.

    Args:
        collected: The ingest.
        files: The archive and the tables.
        wanted: Numbers of the participants whose images are used.

    Returns:
        By number, the paths by column of ``scans.tsv``, or why the series can't be used.

    Raises:
        InputError: If the tables are no gradients, or the archive has no volume.
    """
    expected = _volumes(files)
    others: list[str] = []
    problems: dict[int, str] = {}
    collected.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=collected.folder, prefix=".volumes-") as scratch:
        kept: dict[int, dict[int, Path]] = {}
        for name, content in stream_members(files.dwi, lambda name: _number(name) in wanted, collected.inputs):
            if not (match := NAME.fullmatch(PurePosixPath(name).name)):
                others.append(name)
            elif isinstance(content, Oversized):
                problems[int(match[1])] = str(content)
            elif content is not None:
                own = kept.setdefault(int(match[1]), {})
                if reason := _conflict(match, own):
                    problems[int(match[1])] = reason
                    continue
                path = Path(scratch, match[0])
                path.write_bytes(content)
                own[int(match[2])] = path
        if not kept and not problems:
            raise InputError(
                f"No member of {files.dwi} has a name like IXI012-HH-1211-DTI-00.nii.gz for somebody with a T1 image (found: "
                f"{', '.join(others[:3]) or 'nothing'}); IXI-DTI.tar is expected."
            )
        what = "file(s) of the archive are not DTI images by name, and are ignored"
        collected.notes.add_list(Kind.IMAGES, others, what)
        found: dict[int, dict[str, str] | str] = {**problems}
        for number, volumes in sorted(kept.items()):
            if number not in found:
                found[number] = _written(collected, number, volumes, files, expected)
    return found


def _conflict(volume: re.Match[str], others: dict[int, Path]) -> str | None:
    """Why a volume and those of the same participant that were read before can't be of one series; None if they can."""
    if int(volume[2]) in others:
        return f"The archive has volume {volume[2]} of this participant twice."
    series = {name.rpartition("-DTI-")[0] for name in (volume[0], *(path.name for path in others.values()))}
    return (
        f"The archive has several series of this participant: {', '.join(sorted(series))}." if len(series) > 1 else None
    )


def _volumes(files: DiffusionFiles) -> int:
    """The number of volumes of a series by the tables."""
    try:
        volumes = len(files.bval.read_text(encoding="utf-8-sig").split())
        read_gradients(files.bval, files.bvec, volumes, STAGE)
    except (ScanExcluded, OSError, UnicodeDecodeError) as error:
        reason = error.reason if isinstance(error, ScanExcluded) else error
        raise InputError(
            f"{files.bval} and {files.bvec} are no gradients of IXI: {reason} Download them again."
        ) from error
    return volumes


def _written(
    collected: Ingested, number: int, volumes: dict[int, Path], files: DiffusionFiles, expected: int
) -> dict[str, str] | str:
    """Write one participant's series; or return why it can't be used."""
    if absent := [f"{one:02d}" for one in range(expected) if one not in volumes]:
        return f"The archive lacks {len(absent)} of {expected} volumes: {', '.join(absent)}."
    if len(volumes) > expected:
        return f"The archive has {len(volumes)} volumes, and {files.bval.name} has {expected} b-values."
    try:
        series = joined([volumes[one] for one in range(expected)])
    except ScanExcluded as exclusion:
        return exclusion.reason
    participant_id = f"sub-IXI{number:03d}"
    targets = targets_of(participant_id, "ses-1", f"{participant_id}_ses-1")
    contents = (series, files.bval.read_bytes(), files.bvec.read_bytes())
    for column, content in zip(DIFFUSION_COLUMNS.values(), contents, strict=True):
        collected.write_image(targets[column], content)
    return targets


def _number(name: str) -> int | None:
    match = NAME.fullmatch(PurePosixPath(name).name)
    return int(match[1]) if match else None
