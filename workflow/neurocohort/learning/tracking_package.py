"""Whether the optional package for `tracking: mlflow` is installed. Imports little: every Snakemake process may import it."""

import importlib.util

from neurocohort.settings.study import MLFLOW


def mlflow_available() -> str | None:
    """Return None if MLflow is installed, else an error message with what to install."""
    if importlib.util.find_spec("mlflow") is not None:
        return None
    return (
        "`tracking` is mlflow, which needs the package MLflow, and it is not installed here: run "
        f"`pip install {MLFLOW}` (or all of mlflow) in the environment of the jobs, or leave the key out."
    )
