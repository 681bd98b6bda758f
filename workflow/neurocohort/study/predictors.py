"""Checks of an experiment's predictions from elsewhere against its task and the files."""

import os
from collections.abc import Iterator
from pathlib import Path


def predictor_faults(key: str, experiment: dict) -> Iterator[str]:
    """Yield a sentence for each table of predictions that can't be evaluated.

    Args:
        key: Dotted key of the experiment.
        experiment: Its configuration.
    """
    given = experiment.get("predictors") or {}
    classes = len(experiment.get("classes") or ())
    if given and (experiment["task"] == "segmentation" or classes > 2):
        found = f"has {classes} classes" if classes > 2 else "is a segmentation"
        yield (
            f"`{key}.predictors` is for a regression or a classification of two classes, and this experiment {found}; leave it "
            "out."
        )
        return
    for name, predictor in given.items():
        if not os.path.isfile(predictor["file"]):
            yield (
                f"`{key}.predictors.{name}.file` is `{predictor['file']}`, which isn't a file (relative to {Path.cwd()}); "
                "expected a .csv, .tsv or .xlsx file with the predictions."
            )
