"""The kinds of error that a person should see as a sentence, never as a traceback."""

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


class ScanExcluded(Exception):
    """A scan can't be used. It ends as a row of the exclusions table; the other scans go on.

    ``stage`` is the step that found it (``read``, ``brain_extraction``, ...), ``reason`` a sentence for the table.
    """

    def __init__(self, stage: str, reason: str):
        super().__init__(f"{stage}: {reason}")
        self.stage = stage
        self.reason = reason


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an allocation failed."""
    return isinstance(error, MemoryError) or bool(OUT_OF_MEMORY.search(str(error)))
