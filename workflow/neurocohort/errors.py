"""The kinds of error that a person should see as a sentence, never as a traceback."""

import errno
import re

OUT_OF_MEMORY = re.compile(  # how numpy, torch, ITK and the C++ library say that there is no memory
    r"Cannot allocate memory|can't allocate memory|Unable to allocate|Failed to allocate memory|bad.?alloc|out of memory",
    re.IGNORECASE,
)


class InputError(Exception):
    """Something the user gave is wrong: the message names the file, column or key, what was found, what was
    expected, and what to do. The command line prints it alone and exits with 2."""


class JobFailed(Exception):
    """A job did part of its work and could not do the rest, by no fault of the input: the message names what is left and why.
    The command line prints it alone and exits with 1, and the job is tried again."""


class StorageFailed(JobFailed, OSError):
    """A file or folder could not be written, by the fault of the disk: full, quota used up, read-only, no permission. It is an
    OSError, so that a cache which need not be written can do without.

    ``path`` is what was to be written, ``reason`` what is wrong with its disk, and what to do; ``failed`` is what failed.
    """

    def __init__(self, path: object, reason: str, failed: str = "written"):
        super().__init__(str(path), reason)
        self.path = path
        self.reason = reason
        self.failed = failed

    def __str__(self) -> str:
        return f"{self.path} could not be {self.failed}: {self.reason} What was there before is kept."


class ScanExcluded(Exception):
    """A scan can't be used. It ends as a row of the exclusions table; the other scans go on.

    ``stage`` is the step that found it (``read``, ``brain_extraction``, ...), ``reason`` a sentence for the table.
    """

    def __init__(self, stage: str, reason: str):
        super().__init__(f"{stage}: {reason}")
        self.stage = stage
        self.reason = reason


NO_PERMISSION = "there is no permission. Look at the owner and the permissions of the file and of its folder."
STORAGE_REASONS = {
    errno.ENOSPC: "the disk is full. Make room, and run the same command again.",
    errno.EDQUOT: "the disk quota is used up. Delete files, or ask for more, and run the same command again.",
    errno.EROFS: "the file system is read-only. Have it mounted for writing, or work in another folder.",
    errno.EACCES: NO_PERMISSION,
    errno.EPERM: NO_PERMISSION,
    errno.EFBIG: "it would be larger than files may be here. Look at `ulimit -f`, and at the limits of the file system.",
    errno.EIO: "the disk reports an error. Its administrator can say more.",
}
READING_TOO = (errno.EACCES, errno.EPERM, errno.EIO)  # errors of a file that is read may have these numbers as well
STORAGE_WORDS = {  # how libraries say it whose errors have no number
    errno.ENOSPC: r"No space left on device",
    errno.EDQUOT: r"Disk quota exceeded",
    errno.EROFS: r"Read-only file system",
    errno.EACCES: r"Permission denied",
    errno.EFBIG: r"File too large",
}


def storage_reason(error: BaseException) -> str:
    """What ``error`` says of a disk that can't be written: a sentence of STORAGE_REASONS, or empty."""
    if isinstance(error, StorageFailed):
        return error.reason
    number = error.errno if isinstance(error, OSError) else None
    if number is None:
        number = next((key for key, words in STORAGE_WORDS.items() if re.search(words, str(error))), None)
    return STORAGE_REASONS.get(number, "")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an allocation failed."""
    return isinstance(error, MemoryError) or bool(OUT_OF_MEMORY.search(str(error)))
