"""The two kinds of error that a person should see as a sentence, never as a traceback."""


class InputError(Exception):
    """Something the user gave is wrong: the message names the file, column or key, what was found, what was
    expected, and what to do. The command line prints it alone and exits with 2."""


class ScanExcluded(Exception):
    """A scan can't be used. It ends as a row of the exclusions table; the other scans go on.

    ``stage`` is the step that found it (``read``, ``brain_extraction``, ...), ``reason`` a sentence for the table.
    """

    def __init__(self, stage: str, reason: str):
        super().__init__(f"{stage}: {reason}")
        self.stage = stage
        self.reason = reason
