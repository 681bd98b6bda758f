"""Whether the optional package for ComBat is installed. Imports little, because every Snakemake process may import it."""

import importlib.util

REQUIREMENT = "combatlearn==2.3.0"


def combat_available() -> str | None:
    """Return None if combatlearn is installed, else an error message with what to install."""
    if importlib.util.find_spec("combatlearn") is not None:
        return None
    return (
        "evaluation.harmonisation is 'combat', which needs the package combatlearn, and it is not installed here: run "
        f"`pip install {REQUIREMENT}` in the environment of the jobs, or set evaluation.harmonisation to 'none'."
    )
