"""The kinds of the variables of scans.tsv. A target must be of a kind that fits the task."""

NUMBER, TWO_CLASSES, LABEL_MAP, CATEGORIES, NAME = "a number", "two classes", "a label map", "categories", "a name"
