"""A scheduler of one shell: it starts each job at once beside Snakemake, and a job's id is its process. For tests of what is done
around jobs, where a real scheduler is not the matter."""

from pathlib import Path

SCRIPTS = {
    "submit": "nohup sh $1 > $1.log 2>&1 &\necho $!",
    "status": "if kill -0 $1 2>/dev/null; then echo running; else echo success; fi",
}
OPTIONS = ("--executor", "cluster-generic", "--jobs", "20", "--cores", "2", "--latency-wait", "10")


def shell_scheduler(folder: Path) -> list[str]:
    """Write its scripts into ``folder`` and return Snakemake's options that use it."""
    options = [*OPTIONS, "--seconds-between-status-checks", "1"]
    for name, body in SCRIPTS.items():
        script = folder / f"{name}.sh"
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)
        options += [f"--cluster-generic-{name}-cmd", f"./{script.name}"]
    return options
