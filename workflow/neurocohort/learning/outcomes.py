"""The words of networks.tsv for what became of a network. Apart from the code that finds it, so that the report can read them
without torch."""

YES, NO, NOT_JUDGED = "yes", "no", "not judged"  # whether it learned anything, and whether it is in the average
FIRST, LATEST = "first", "last"  # the kept epoch, of those that could be kept
