"""Whether the optional packages of the page are installed."""

import importlib.util

from neurocohort.errors import InputError

REQUIREMENTS = {"starlette": "starlette==1.10.0", "uvicorn": "uvicorn==0.54.0"}


def check_packages() -> None:
    """Raise InputError with what to install, unless starlette and uvicorn are installed."""
    missing = [name for name in REQUIREMENTS if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"neurocohort serve needs the package{'s' * (len(missing) > 1)} {' and '.join(missing)}, not installed here: run "
            f"`pip install {' '.join(REQUIREMENTS.values())}` in the environment of neurocohort."
        )
