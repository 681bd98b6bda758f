"""The words of networks.tsv for the outcome of a training. In a module of their own, so that the report needs no torch."""

YES, NO, NOT_JUDGED = "yes", "no", "not judged"  # whether it learned anything, and whether it is averaged
FIRST, LATEST = "first", "last"  # the kept epoch among those that could be kept
