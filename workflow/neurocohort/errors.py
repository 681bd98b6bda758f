"""The errors that a person sees as a sentence, without a traceback."""

import errno
import re

OUT_OF_MEMORY = re.compile(  # messages of numpy, torch, ITK and the C++ library
    r"Cannot allocate memory|can't allocate memory|Unable to allocate|Failed to allocate memory|bad.?alloc|out of memory",
    re.IGNORECASE,
)


class InputError(Exception):
    """A wrong input of the user.

    The message names the file, column or key, what was found, what was expected, and what to do. The command line prints only
    the message, and exits with 2.
    """


class JobFailed(Exception):
    """A job could not finish, for a reason other than its input. The message names what is left and why.

    The command line prints only the message and exits with 1, and the job is tried again.
    """


class StorageFailed(JobFailed, OSError):
    """A file or folder could not be written because of the disk: full, quota used up, read-only, no permission.

    It is an OSError, so that writers of optional caches can ignore it. ``reason``: what is wrong, and what to do. ``failed``: the
    operation that failed.
    """

    def __init__(self, path: object, reason: str, failed: str = "written"):
        super().__init__(str(path), reason)
        self.path = path
        self.reason = reason
        self.failed = failed

    def __str__(self) -> str:
        return f"{self.path} could not be {self.failed}: {self.reason} The previous version is kept."


class ScanExcluded(Exception):
    """A scan can't be used; it becomes a row of the exclusions table, and the other scans continue.

    ``stage``: the step that found it (``read``, ``brain_extraction``, ...). ``reason``: a sentence for the table.
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
    errno.EIO: "the disk reports an error. Ask its administrator.",
}
READING_TOO = (errno.EACCES, errno.EPERM, errno.EIO)  # numbers that errors of reading can have as well
STORAGE_WORDS = {  # messages of libraries whose errors have no number
    errno.ENOSPC: r"No space left on device",
    errno.EDQUOT: r"Disk quota exceeded",
    errno.EROFS: r"Read-only file system",
    errno.EACCES: r"Permission denied",
    errno.EFBIG: r"File too large",
}


def storage_reason(error: BaseException) -> str:
    """The sentence of STORAGE_REASONS that fits an error of a disk; empty for other errors."""
    if isinstance(error, StorageFailed):
        return error.reason
    number = error.errno if isinstance(error, OSError) else None
    if number is None:
        number = next((key for key, words in STORAGE_WORDS.items() if re.search(words, str(error))), None)
    return STORAGE_REASONS.get(number, "") if number else ""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error is a failed allocation."""
    return isinstance(error, MemoryError) or bool(OUT_OF_MEMORY.search(str(error)))
