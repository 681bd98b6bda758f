"""What is installed here: Python, the packages of the lock, torch and the GPUs that it and the driver see."""

import importlib.util
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from neurocohort.checkout import CHECKOUT
from neurocohort.cluster.doctor.findings import BAD, GOOD, NONE, Finding
from neurocohort.cluster.gpus import Gpu, gpus_here
from neurocohort.errors import InputError

LOCK = CHECKOUT / "envs" / "requirements.txt"
OLDEST_PYTHON = (3, 11)  # as pyproject.toml has it
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
NAMED = 4  # packages that a line names
ASK_TORCH = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
CUDA_BUILD = "make the environment anew with PyPI's torch, which brings CUDA: `make clean`, then `make demo` without TORCH_INDEX."


def check_python(version: tuple[int, ...] = tuple(sys.version_info)) -> list[Finding]:
    """Whether this Python is new enough."""
    said = f"{'.'.join(map(str, version[:3]))}, {sys.executable}"
    if tuple(version[:2]) < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return [
            Finding(
                BAD,
                "Python",
                f"{said}: {oldest} or newer is needed",
                f"`make demo PYTHON=python{oldest}` in a clean checkout.",
            )
        ]
    return [Finding(GOOD, "Python", said)]


def check_packages(lock: Path = LOCK) -> list[Finding]:
    """Whether the installed packages are those of the lock, each at its version."""
    pins = dict(PIN.findall(lock.read_text(encoding="utf-8")))
    missing, other = [], []
    for name, version in pins.items():
        try:
            found = metadata.version(name).split("+")[0]  # torch 2.13.0+cpu is 2.13.0, built for the CPU
        except metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if found != version:
            other.append(f"{name} {found} in place of {version}")
    if not missing and not other:
        return [Finding(GOOD, "packages", f"all {len(pins)} of envs/requirements.txt, at their versions")]
    said = [f"{len(missing)} of envs/requirements.txt are missing ({_few(missing)})"] if missing else []
    said += [f"{len(other)} have another version ({_few(other)})"] if other else []
    fix = f"`{sys.executable} -m pip install -r envs/requirements.txt`, or `make clean` and `make demo`, which make .venv anew."
    return [Finding(BAD, "packages", "; ".join(said), fix)]


def check_torch(timeout_s: float, *, devices: set[str], on_cluster: bool) -> list[Finding]:
    """torch and this machine's GPUs, judged by what the studies ask for. torch is imported only where there is a GPU to ask it
    about: from a busy file server that takes half a minute."""
    try:
        version, cuda = torch_build()
    except InputError as error:
        return [Finding(BAD, "torch", str(error), "`make clean` and `make demo` make .venv anew.")]
    seen = gpus_here()
    usable = usable_gpus(timeout_s) if seen and cuda else 0
    if isinstance(usable, str):
        return [
            Finding(
                BAD,
                "torch",
                usable,
                "try again; if it can't be imported, `make clean` and `make demo` make .venv anew.",
            )
        ]
    return judge_torch(version, cuda, seen, usable, devices=devices, on_cluster=on_cluster)


def torch_build() -> tuple[str, str]:
    """torch's version, and that of the CUDA it is built for (empty: for the CPU alone), from its own file version.py."""
    found = importlib.util.find_spec("torch")
    file = Path(found.origin).with_name("version.py") if found and found.origin else None
    if file is None or not file.is_file():
        raise InputError("torch is not installed")
    text = file.read_text(encoding="utf-8")
    version, cuda = (
        re.search(rf"^{name}\b.*= *['\"]([^'\"]+)", text, re.MULTILINE) for name in ("__version__", "cuda")
    )
    return version[1] if version else "?", cuda[1] if cuda else ""


def usable_gpus(timeout_s: float) -> int | str:
    """How many GPUs torch can use, asked in a process of its own; a text where it gives no answer."""
    try:
        done = subprocess.run([sys.executable, "-c", ASK_TORCH], capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return f"torch isn't imported within {timeout_s:.0f} s: the file system of the environment is slow, or the machine busy"
    if done.returncode:
        return f"torch can't be imported: {(done.stderr.strip().splitlines() or ['it says nothing'])[-1]}"
    return int(done.stdout.split()[-1])


def judge_torch(
    version: str, cuda: str, seen: list[Gpu], usable: int, *, devices: set[str], on_cluster: bool
) -> list[Finding]:
    """What torch's build, the GPUs that the driver has ``seen`` and how many of them torch can use mean.

    ``devices``: the study's, where its jobs compute. ``on_cluster``: jobs run elsewhere, and this machine needs no GPU.
    """
    wanted = devices - {"cpu"}
    said = f"{version}, built for {f'CUDA {cuda}' if cuda else 'the CPU alone'}"
    if not cuda and wanted and (on_cluster or seen or "cuda" in wanted):
        where = "jobs on GPUs would find none" if on_cluster else "it uses no GPU"
        fix = f"{CUDA_BUILD} Or set `device: cpu`, and no job asks for a GPU."
        findings = [Finding(BAD, "torch", f"{said}: {where} (`device: {min(wanted)}`)", fix)]
    else:
        findings = [Finding(GOOD, "torch", said)]
    driver = f"driver {seen[0].driver}" if seen else "nvidia-smi isn't there or doesn't answer"
    names = ", ".join(f"{gpu.name} ({gpu.memory_mib / 1024:.0f} GiB)" for gpu in seen)
    if usable:
        return [*findings, Finding(GOOD, "GPU", f"{names}, {driver}; torch can use {usable} of {len(seen)}")]
    if not wanted:
        needed = "`device: cpu` needs none" if devices else driver
        return [*findings, Finding(NONE, "GPU", needed)]
    if on_cluster:
        return [*findings, Finding(NONE, "GPU", "none here, and none is needed: jobs run on the cluster's nodes")]
    if seen:
        found = f"{names}, {driver}, and torch can't use it"
        fix = f"update the driver to one for CUDA {cuda}, or set `device: cpu`." if cuda else CUDA_BUILD
        return [*findings, Finding(BAD, "GPU", found, fix)]
    if "cuda" in wanted:
        fix = "run where there is one (--profile slurm, --profile sge), or set `device: auto`."
        return [*findings, Finding(BAD, "GPU", f"none ({driver}), and `device: cuda` insists on one", fix)]
    return [*findings, Finding(NONE, "GPU", f"none ({driver}): `device: auto` takes the CPU")]


def _few(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
