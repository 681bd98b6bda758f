"""What a variable of scans.tsv is, which decides the task that can have it as its target."""

NUMBER, TWO_CLASSES, LABEL_MAP, CATEGORIES, NAME = "a number", "two classes", "a label map", "categories", "a name"
