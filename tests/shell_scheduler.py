"""A scheduler of one shell: it starts each job at once beside Snakemake, and a job's id is its process. For tests of what is done
around jobs, where a real scheduler is not the matter."""

from pathlib import Path

SCRIPTS = {
    "submit.sh": "setsid nohup sh $1 > $1.log 2>&1 &\necho $! | tee -a submitted",
    "status.sh": "if kill -0 $1 2>/dev/null; then echo running; else echo success; fi",
    # As far as neurocohort asks Grid Engine: which jobs are there, where one was submitted, and to delete some.
    "qstat": 'if [ "$1" = -j ]; then echo "cwd: $(readlink /proc/$2/cwd)"; else cat submitted | while read job; do\n'
    '  kill -0 $job 2>/dev/null && echo "$job 0.5 made user r"; done; fi; true',
    "qdel": 'for job; do kill -9 "-$job"; done',
}
OPTIONS = ("--executor", "cluster-generic", "--jobs", "20", "--cores", "2", "--latency-wait", "10")


def shell_scheduler(folder: Path) -> list[str]:
    """Write its scripts into ``folder`` and return Snakemake's options that use it."""
    for name, body in SCRIPTS.items():
        script = folder / name
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)
    commands = [f"--cluster-generic-{name}-cmd=./{name}.sh" for name in ("submit", "status")]
    return [*OPTIONS, "--seconds-between-status-checks", "1", *commands]
