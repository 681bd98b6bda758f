#!/usr/bin/env python3
"""Submit a job to Grid Engine as site.yaml says: submit.py JOBSCRIPT. Prints the job's id."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import yaml

FOLDER = Path(__file__).resolve().parent
SITE = FOLDER / "site.yaml"
STATE = Path(".snakemake", "sge")  # exit codes, and logs of what the rules' own logs don't have
KEYS = {
    "gpu": str,
    "gpu_slots": ("gpus", "threads"),
    "parallel_environment": str,
    "gpu_parallel_environment": str,
    "memory": dict,
    "gpu_memory": dict,
    "memory_per": ("slot", "job"),
    "queue": str,
    "gpu_queue": str,
    "project": str,
    "reservation": bool,
    "options": list,
}


def main() -> None:
    script = Path(sys.argv[1])
    properties, site = read_properties(script), read_site(SITE)
    logs = STATE / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    name = properties.get("rule") or properties.get("groupid") or "job"
    command = ["qsub", "-terse", "-V", "-S", "/bin/sh", "-wd", str(Path.cwd()), "-r", "y", "-j", "y"]
    command += ["-N", f"nc-{name}", "-o", str(logs.absolute() / f"{name}.$JOB_ID.log")]
    threads = properties.get("threads", 1)
    command += options_of(threads, properties.get("resources", {}), site)
    # Snakemake lets every job use the profile's `cores`; a job of several scans would then run more than it has slots for.
    script.write_text(re.sub(r"(?<= --cores )\S+", str(threads), script.read_text()))
    done = subprocess.run([*command, str(script)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(
            f"{' '.join(command)} ended with {done.returncode}; see its words above, and {SITE} for the names in it."
        )
    job = done.stdout.strip().splitlines()[-1].split(".")[0]  # messages of a site's own come first
    print(job)


def read_properties(script: Path) -> dict:
    """What Snakemake says of the job, from the line that jobscript.sh keeps for it."""
    for line in script.read_text().splitlines():
        if line.startswith("# properties = "):
            return json.loads(line.split("=", 1)[1])
    sys.exit(f"{script} has no line `# properties = ...`; is {FOLDER / 'jobscript.sh'} as it was?")


def read_site(path: Path) -> dict:
    """The table of names; exits with a sentence where a key is missing, unknown or of another kind."""
    site = yaml.safe_load(path.read_text()) or {}
    if unknown := set(site) - set(KEYS):
        sys.exit(f"{path} has the key {sorted(unknown)[0]}; expected {', '.join(KEYS)}.")
    for key, kind in KEYS.items():
        if key not in site:
            sys.exit(f"{path} lacks the key {key}; sites/ beside it has examples.")
        right = site[key] in kind if isinstance(kind, tuple) else isinstance(site[key], kind)
        if not right:
            expected = " or ".join(kind) if isinstance(kind, tuple) else kind.__name__
            sys.exit(f"{path} has {key}: {site[key]!r}; expected {expected}.")
    return site


def options_of(threads: int, resources: dict, site: dict) -> list[str]:
    """qsub's options for a job's threads and its resources gpu, mem_mb and runtime (minutes)."""
    gpus, options = resources.get("gpu", 0), []
    per_slot = site["gpu_slots"] == "gpus"
    slots = gpus if gpus and per_slot else threads
    if slots > 1:
        options += ["-pe", site["gpu_parallel_environment" if gpus else "parallel_environment"], str(slots)]
    if gpus:
        if gpus > 1 and not per_slot and "{gpus}" not in site["gpu"]:
            sys.exit(f"A job needs {gpus} GPUs, and {SITE} asks by `{site['gpu']}`, which can't say how many.")
        options += ["-l", site["gpu"].format(gpus=1 if per_slot else gpus)]
    if "mem_mb" in resources:
        for name, further_mb in site["gpu_memory" if gpus else "memory"].items():
            megabytes = (resources["mem_mb"] + further_mb) / (slots if site["memory_per"] == "slot" else 1)
            options += ["-l", f"{name}={math.ceil(megabytes)}M"]
    if "runtime" in resources:
        options += ["-l", f"h_rt={math.ceil(resources['runtime'] * 60)}"]
    if queue := site["gpu_queue"] if gpus else site["queue"]:
        options += ["-q", queue]
    if site["project"]:
        options += ["-P", site["project"]]
    if site["reservation"] and (gpus or slots > 1):
        options += ["-R", "y"]
    return options + [str(option) for option in site["options"]]


if __name__ == "__main__":
    main()
