"""Create a virtual environment with pip. This also works on Debian without the package python3-venv, where Python has no pip.

Usage: python3 envs/make_venv.py FOLDER
"""

import hashlib
import subprocess
import sys
import tempfile
import urllib.request
import venv
from importlib.util import find_spec
from pathlib import Path

MINIMUM_PYTHON = (3, 11)
PIP_WHEEL = (
    "https://files.pythonhosted.org/packages/07/25/"
    "ee8c38ae72d66b844ce8eb9711ba905dba21ca1a8a0c960057c41cd23337/pip-26.3-py3-none-any.whl"
)
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"


def main(folder: str) -> None:
    if sys.version_info < MINIMUM_PYTHON:
        found, wanted = (".".join(map(str, version)) for version in (sys.version_info[:2], MINIMUM_PYTHON))
        sys.exit(f"Python {found} found, {wanted} or newer is needed: make PYTHON=/path/to/python{wanted} ...")
    has_pip = find_spec("ensurepip") is not None
    venv.create(folder, with_pip=has_pip, clear=True, symlinks=True)
    if has_pip:
        return
    with urllib.request.urlopen(PIP_WHEEL, timeout=60) as response:
        wheel = response.read()
    if hashlib.sha256(wheel).hexdigest() != PIP_SHA256:
        sys.exit(f"{PIP_WHEEL} is not the file that was published; install Debian's python3-venv and try again.")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / PIP_WHEEL.rsplit("/", 1)[1]
        path.write_bytes(wheel)
        subprocess.run([f"{folder}/bin/python", f"{path}/pip", "install", "--quiet", str(path)], check=True)


if __name__ == "__main__":
    main(sys.argv[1])
