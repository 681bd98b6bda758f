"""What is installed here: Python, the packages of the lock, torch and the GPUs that it and the driver see."""

import importlib.util
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from neurocohort.checkout import CHECKOUT
from neurocohort.cluster.doctor.findings import BAD, GOOD, NONE, Finding
from neurocohort.cluster.gpus import Gpu, gpus_here
from neurocohort.errors import InputError

LOCK = CHECKOUT / "envs" / "requirements.txt"
OLDEST_PYTHON = (3, 11)  # as in pyproject.toml
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
NAMED = 4  # packages that a line names
ASK_TORCH = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
REBUILD = "`make clean` and `make demo` rebuild .venv."
CUDA_BUILD = "rebuild the environment with PyPI's torch, which includes CUDA: `make clean`, then `make demo` without TORCH_INDEX."


@dataclass(frozen=True)
class TorchBuild:
    """torch's version, and the CUDA version that it is built for (empty: the CPU only)."""

    version: str
    cuda: str


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> list[Finding]:
    """Whether this Python is new enough."""
    found = f"{'.'.join(map(str, version))}, {sys.executable}"
    if version[:2] >= OLDEST_PYTHON:
        return [Finding(GOOD, "Python", found)]
    oldest = ".".join(map(str, OLDEST_PYTHON))
    fix = f"`make demo PYTHON=python{oldest}` in a clean checkout."
    return [Finding(BAD, "Python", f"{found}: {oldest} or newer is needed", fix)]


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
            other.append(f"{name} {found} instead of {version}")
    if not missing and not other:
        return [Finding(GOOD, "packages", f"all {len(pins)} of envs/requirements.txt, at their versions")]
    faults = [f"{len(missing)} of envs/requirements.txt are missing ({_few(missing)})"] if missing else []
    faults += [f"{len(other)} have another version ({_few(other)})"] if other else []
    fix = f"`{sys.executable} -m pip install -r envs/requirements.txt`; or {REBUILD}"
    return [Finding(BAD, "packages", "; ".join(faults), fix)]


def check_torch(timeout_s: float, *, devices: set[str], on_cluster: bool) -> list[Finding]:
    """torch and this machine's GPUs, judged by what the study requests.

    torch is only imported if there is a GPU to ask it about: from a busy file server that takes half a minute.
    """
    try:
        build = torch_build()
        seen = gpus_here()
        usable = usable_gpus(timeout_s) if seen and build.cuda else 0
    except InputError as error:
        return [Finding(BAD, "torch", str(error), f"try again; if torch can't be imported, {REBUILD}")]
    return judge_torch(build, seen, usable, devices=devices, on_cluster=on_cluster)


def torch_build() -> TorchBuild:
    """Read torch's own file version.py. Raises InputError if torch isn't installed."""
    found = importlib.util.find_spec("torch")
    file = Path(found.origin).with_name("version.py") if found and found.origin else None
    if file is None or not file.is_file():
        raise InputError("torch is not installed")
    text = file.read_text(encoding="utf-8")
    version, cuda = (
        re.search(rf"^{name}\b.*= *['\"]([^'\"]+)", text, re.MULTILINE) for name in ("__version__", "cuda")
    )
    return TorchBuild(version[1] if version else "?", cuda[1] if cuda else "")


def usable_gpus(timeout_s: float) -> int:
    """How many GPUs torch can use, found out in a process of its own. Raises InputError if it can't be imported in time."""
    try:
        done = subprocess.run([sys.executable, "-c", ASK_TORCH], capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise InputError(
            f"torch isn't imported within {timeout_s:.0f} s: the file system of the environment is slow, or the machine busy"
        ) from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason is given"])[-1]
        raise InputError(f"torch can't be imported: {reason}")
    return int(done.stdout.split()[-1])


def judge_torch(
    build: TorchBuild, seen: list[Gpu], usable: int, *, devices: set[str], on_cluster: bool
) -> list[Finding]:
    """Whether torch's build and the GPUs fit the study.

    Args:
        build: The installed torch.
        seen: The GPUs that the driver sees.
        usable: How many of them torch can use.
        devices: The study's devices, on which its jobs compute.
        on_cluster: Whether jobs run on other machines, so that this one needs no GPU.
    """
    wanted = devices - {"cpu"}
    found = f"{build.version}, built for {f'CUDA {build.cuda}' if build.cuda else 'the CPU only'}"
    if not build.cuda and wanted and (on_cluster or seen or "cuda" in wanted):
        where = "jobs on GPUs would find none" if on_cluster else "it uses no GPU"
        fix = f"{CUDA_BUILD} Or set `device: cpu`, and no job requests a GPU."
        findings = [Finding(BAD, "torch", f"{found}: {where} (`device: {min(wanted)}`)", fix)]
    else:
        findings = [Finding(GOOD, "torch", found)]
    driver = f"driver {seen[0].driver}" if seen else "nvidia-smi isn't installed or doesn't answer"
    names = ", ".join(f"{gpu.name} ({gpu.memory_mib / 1024:.0f} GiB)" for gpu in seen)
    if usable:
        gpu = Finding(GOOD, "GPU", f"{names}, {driver}; torch can use {usable} of {len(seen)}")
    elif not wanted:
        gpu = Finding(NONE, "GPU", "`device: cpu` needs none" if devices else driver)
    elif on_cluster:
        gpu = Finding(NONE, "GPU", "none here, and none is needed: jobs run on the cluster's nodes")
    elif seen:
        fix = f"update the driver to one for CUDA {build.cuda}, or set `device: cpu`." if build.cuda else CUDA_BUILD
        gpu = Finding(BAD, "GPU", f"{names}, {driver}, and torch can't use it", fix)
    elif "cuda" in wanted:
        fix = "run on a machine that has one (--profile slurm, --profile sge), or set `device: auto`."
        gpu = Finding(BAD, "GPU", f"none ({driver}), but `device: cuda` requires one", fix)
    else:
        gpu = Finding(NONE, "GPU", f"none ({driver}): `device: auto` uses the CPU")
    return [*findings, gpu]


def _few(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
