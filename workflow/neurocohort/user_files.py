"""Opening a user's files: only regular files, up to a plausible size, with a clause on what is wrong.

A named pipe, a device or an endless file instead of an image or a table must not block a cohort. This module imports little,
because the configuration is checked with it at the start of every Snakemake process.
"""

import errno
import json
import math
import os
import re
import stat
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

KIND_OF_FILE = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
FAULT_OF_PATH = {  # errors of this path; others, such as those of a disk, are the machine's
    errno.ENOENT: "is not there",
    errno.EACCES: "can't be read: you have no permission",
    errno.EPERM: "can't be read: you have no permission",
    errno.ELOOP: "is a link that leads back to itself",
    errno.ENOTDIR: "is not there, because a part of its path is a file and not a folder",
    errno.ENAMETOOLONG: "has a name or path that is too long for this machine",
    errno.EINVAL: "has a name that is invalid on this machine",
    errno.EILSEQ: "has a name that is invalid on this machine",
    errno.ENXIO: "is a socket or a device, and a regular file is expected",
    errno.ENODEV: "is a device, and a regular file is expected",
}
FORMULA = re.compile(r"[=+\-@\t\r\n].", re.DOTALL)  # a text that a spreadsheet program runs; a sign alone is no formula
TABLE_BYTES = 256 << 20
JSON_BYTES = 16 << 20  # of a data dictionary


class UnusableFile(Exception):
    """A user's file can't be used. The text is a clause without its subject: ``is a named pipe, ...``."""


def open_regular(path: Path | str) -> BinaryIO:
    """Open a regular file for reading, without waiting for a pipe or device.

    Raises UnusableFile for anything else and for a bad path; errors of the machine are raised as they are.
    """
    try:
        # Opening a named pipe without O_NONBLOCK waits for a writer; on regular files it has no effect.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise UnusableFile(fault_of_path(path, error)) from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise UnusableFile(f"is {kind_of_file(mode)}, and a regular file is expected")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path | str, limit: int = TABLE_BYTES) -> bytes:
    """The content of a regular file of at most ``limit`` bytes. Raises UnusableFile if it can't be read or is larger."""
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit:
            raise UnusableFile(f"has {size} bytes, and at most {limit} are expected")
        content = stream.read(limit + 1)  # some file systems report no size
    if len(content) > limit:
        raise UnusableFile(f"has more than {limit} bytes, the largest size that is expected")
    return content


def read_user_json(path: Path | str) -> Mapping[str, object]:
    """Read a JSON object and make it valid: numbers that aren't finite become None, and half characters ``?``.

    Raises UnusableFile if the file can't be read, and ValueError if it has no JSON object.
    """
    content = read_bytes(path, JSON_BYTES)
    try:
        for _ in range(2):
            found = json.loads(content.decode("utf-8-sig"), parse_constant=lambda _: None, parse_float=_finite)
            content = json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("it has no object")
    return found


def _finite(text: str) -> float | None:
    return float(text) if math.isfinite(float(text)) else None


def fault_of_path(path: Path | str, error: OSError | ValueError) -> str:
    """The clause for an error of the path. Raises ``error`` if it is the machine's."""
    if isinstance(error, ValueError):  # a null byte, or a character that file names can't have
        return FAULT_OF_PATH[errno.EINVAL]
    if error.errno not in FAULT_OF_PATH:
        raise error
    if error.errno == errno.ENOENT:
        if os.path.islink(path):
            return "is a link to a file that is not there; fetch its content (with DataLad: `datalad get`)"
        if unknown := next((part for part in Path(path).parts if part.startswith("~")), None):
            return f"is not there: {printable(unknown)} is no home folder of this machine"
    return FAULT_OF_PATH[error.errno]


def kind_of_file(mode: int) -> str:
    """The name of a kind of file that isn't regular."""
    return next((name for is_kind, name in KIND_OF_FILE if is_kind(mode)), "no regular file")


def fault_of_file(path: Path | str) -> str | None:
    """Why a file can't be read, as a clause; None if it can. Raises errors of the machine."""
    try:
        open_regular(path).close()
    except UnusableFile as fault:
        return str(fault)
    return None


def fault_of_folder(path: Path | str) -> str | None:
    """Why a folder can't be listed, as a clause; None if it can. Raises errors of the machine."""
    try:
        with os.scandir(path):
            return None
    except (OSError, ValueError) as error:
        if isinstance(error, NotADirectoryError) and os.path.exists(path):
            mode = os.stat(path).st_mode
            return f"is {'a file' if stat.S_ISREG(mode) else kind_of_file(mode)}, and a folder is expected"
        return fault_of_path(path, error)


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder or a link to one; False for a broken link."""
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry.path))


def expanded(path: str) -> Path:
    """The path with ``~`` replaced by the home folder, if there is such a user."""
    return Path(os.path.expanduser(path))


def printable(text: str) -> str:
    """A user's text in one line, for a table or log: bytes that aren't UTF-8 and control characters are escaped."""
    shown = (
        one if one.isprintable() or unicodedata.category(one) == "Zs" else one.encode("unicode_escape").decode()
        for one in text
    )
    return "".join(shown)


def is_formula(text: str) -> bool:
    """Whether a spreadsheet program would run the text of a cell. Numbers, also with a decimal comma, are no formulas."""
    if not FORMULA.match(text):
        return False
    try:
        float(text.replace(",", "."))
    except ValueError:
        return True
    return False


def harmless(text: str) -> str:
    """A sentence as a safe cell of a table: `printable`, and no formula."""
    text = printable(text)
    return f"'{text}" if is_formula(text) else text
