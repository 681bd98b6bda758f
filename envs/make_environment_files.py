"""Write environment.yaml (conda) and Containerfile from the lock, requirements.txt.

Run it after every change of the lock: python envs/make_environment_files.py
"""

import hashlib
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PYTHON = "3.11"  # the oldest Python that pyproject.toml allows, and the one that debian:12-slim has

CONDA = """\
# Generated from requirements.txt by make_environment_files.py. Don't edit it; edit the lock and run the script.
#   conda env create -f envs/environment.yaml && conda activate neurocohort && pip install --no-deps -e .
name: neurocohort
channels:
  - conda-forge
dependencies:
  - python={python}
  - pip
  - make
  - git
  - pip:
{pins}
"""

CONTAINER = """\
# Generated from requirements.txt by make_environment_files.py. Don't edit it; edit the lock and run the script.
#   docker build -f envs/Containerfile -t neurocohort .            (or podman, buildah)
#   docker run --rm -v "$PWD":/study neurocohort snakemake --cores 2
# The image contains the environment; the code is that of the clone mounted on /study. torch is PyPI's build, which uses an
# NVIDIA GPU if the container has one (--gpus all), and else the CPU.
FROM debian:12-slim
RUN apt-get update \\
    && apt-get install --yes --no-install-recommends python3 python3-venv make git ca-certificates \\
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/neurocohort
ENV PATH=/opt/neurocohort/bin:$PATH
COPY envs/requirements.txt /opt/neurocohort/requirements.txt
RUN pip install --no-cache-dir -r /opt/neurocohort/requirements.txt && pip check
WORKDIR /study
COPY pyproject.toml README.md ./
COPY envs envs
COPY workflow workflow
RUN pip install --no-cache-dir --no-deps -e .
LABEL org.neurocohort.python="{python}" \\
      org.neurocohort.torch="{torch}" \\
      org.neurocohort.snakemake="{snakemake}" \\
      org.neurocohort.lock-sha256="{sha256}"
CMD ["snakemake", "--cores", "2"]
"""


def pins_of(lock: str) -> dict[str, str]:
    """Read names and versions of the lock, in its order. Raises ValueError for a line that isn't ``name==version``."""
    pins = {}
    for line in lock.splitlines():
        requirement = line.split("#")[0].strip()
        if not requirement:
            continue
        name, separator, version = requirement.partition("==")
        if not (name and separator and version) or set(version) & set(" ;,+*"):
            raise ValueError(f"requirements.txt has the line `{line}`; expected one exact pin, name==version.")
        pins[name] = version
    return pins


def environment_files(lock: str) -> dict[str, str]:
    """Return the text of each file that is generated from the lock, by file name."""
    pins = pins_of(lock)
    sha256 = hashlib.sha256("\n".join(f"{name}=={version}" for name, version in pins.items()).encode()).hexdigest()
    pip_lines = "\n".join(f"      - {name}=={version}" for name, version in pins.items())
    return {
        "environment.yaml": CONDA.format(python=PYTHON, pins=pip_lines),
        "Containerfile": CONTAINER.format(
            python=PYTHON, torch=pins["torch"], snakemake=pins["snakemake"], sha256=sha256
        ),
    }


if __name__ == "__main__":
    for file_name, text in environment_files((FOLDER / "requirements.txt").read_text(encoding="utf-8")).items():
        (FOLDER / file_name).write_text(text, encoding="utf-8")
