"""Write environment.yaml (conda), Containerfile and the recipes of the BIDS App from the lock, requirements.txt.

Run it after every change of the lock: python envs/make_environment_files.py
"""

import hashlib
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PYTHON = "3.11"  # the oldest Python that pyproject.toml allows, and the one of BASE

BASE = "debian:12-slim"

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
FROM {base}
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


BIDS_APP = """\
# Generated from requirements.txt by make_environment_files.py. Don't edit it; edit the lock and run the script.
# The BIDS App with the models of a study inside; it runs without a network. In the repository, after a study:
#   docker build -f envs/BidsApp.Containerfile --build-arg MODELS=results/models -t neurocohort-bids .     (or podman, buildah)
#   docker run --rm -v /data:/data:ro -v /out:/out neurocohort-bids /data /out participant --participant-label 01
# MODELS: the folder of the bundles, below the repository. TORCH_INDEX: another package index, such as that of torch for CPUs.
FROM {base}
RUN apt-get update \\
    && apt-get install --yes --no-install-recommends python3 python3-venv ca-certificates \\
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/neurocohort
ENV PATH=/opt/neurocohort/bin:$PATH \\
    MPLCONFIGDIR=/tmp/matplotlib \\
    PYTHONNOUSERSITE=1 \\
    NEUROCOHORT_MODELS=/models
ARG TORCH_INDEX=""
COPY envs/requirements.txt /opt/source/envs/requirements.txt
RUN pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -r /opt/source/envs/requirements.txt && pip check
COPY pyproject.toml README.md /opt/source/
COPY envs /opt/source/envs
COPY workflow /opt/source/workflow
RUN pip install --no-cache-dir --no-deps /opt/source && neurocohort bids --help > /dev/null
ARG MODELS=results/models
COPY ${{MODELS}} /models
LABEL org.neurocohort.python="{python}" \\
      org.neurocohort.torch="{torch}" \\
      org.neurocohort.lock-sha256="{sha256}"
ENTRYPOINT ["neurocohort", "bids"]
"""

APPTAINER = """\
# Generated from requirements.txt by make_environment_files.py. Don't edit it; edit the lock and run the script.
# The BIDS App with the models of a study inside; it runs without a network. In the repository, after a study:
#   apptainer build --build-arg MODELS=results/models neurocohort-bids.sif envs/bids_app.def
#   apptainer run --cleanenv -B /data:/data:ro,/out neurocohort-bids.sif /data /out participant --participant-label 01
# MODELS: the folder of the bundles. TORCH_INDEX: another package index, such as that of torch for CPUs.
Bootstrap: docker
From: {base}

%arguments
    MODELS=results/models
    TORCH_INDEX=

%files
    envs /opt/source/envs
    workflow /opt/source/workflow
    pyproject.toml /opt/source/pyproject.toml
    README.md /opt/source/README.md
    {{{{ MODELS }}}} /models

%post
    set -eu
    apt-get update
    apt-get install --yes --no-install-recommends python3 python3-venv ca-certificates
    rm -rf /var/lib/apt/lists/*
    python3 -m venv /opt/neurocohort
    export PATH=/opt/neurocohort/bin:$PATH
    pip install --no-cache-dir --extra-index-url "{{{{ TORCH_INDEX }}}}" -r /opt/source/envs/requirements.txt
    pip check
    pip install --no-cache-dir --no-deps /opt/source
    neurocohort bids --help > /dev/null

%environment
    export PATH=/opt/neurocohort/bin:$PATH
    export MPLCONFIGDIR=/tmp/matplotlib PYTHONNOUSERSITE=1 NEUROCOHORT_MODELS=/models

%labels
    org.neurocohort.python {python}
    org.neurocohort.torch {torch}
    org.neurocohort.lock-sha256 {sha256}

%runscript
    exec neurocohort bids "$@"
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
    versions = {
        "python": PYTHON,
        "base": BASE,
        "torch": pins["torch"],
        "snakemake": pins["snakemake"],
        "sha256": sha256,
    }
    return {
        "environment.yaml": CONDA.format(python=PYTHON, pins=pip_lines),
        "Containerfile": CONTAINER.format(**versions),
        "BidsApp.Containerfile": BIDS_APP.format(**versions),
        "bids_app.def": APPTAINER.format(**versions),
    }


if __name__ == "__main__":
    for file_name, text in environment_files((FOLDER / "requirements.txt").read_text(encoding="utf-8")).items():
        (FOLDER / file_name).write_text(text, encoding="utf-8")
