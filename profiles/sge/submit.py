#!/usr/bin/env python3
"""Submit a job to Grid Engine with the names of site.yaml: submit.py JOBSCRIPT. Prints the job's number."""

import json
import re
import subprocess
import sys
from pathlib import Path

from neurocohort.cluster.jobs import Resources
from neurocohort.cluster.site import read_site, submit_options
from neurocohort.errors import InputError

FOLDER = Path(__file__).resolve().parent
SITE = FOLDER / "site.yaml"
STATE = Path(".snakemake", "sge")  # exit codes, and logs of what the rules' own logs don't contain


def main() -> None:
    """Submit the job script that Snakemake wrote."""
    script = Path(sys.argv[1])
    text = script.read_text()
    properties = re.search(r"^# properties = (.*)$", text, re.MULTILINE)
    if not properties:
        sys.exit(f"{script} has no line `# properties = ...`; restore {FOLDER / 'jobscript.sh'} from the repository.")
    job = json.loads(properties[1])
    name = job.get("rule") or job.get("groupid") or "job"
    requested = {"threads": job.get("threads", 1)} | job.get("resources", {})
    resources = Resources(**{field: requested[field] for field in Resources._fields if field in requested})
    logs = STATE / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    command = ["qsub", "-terse", "-V", "-S", "/bin/sh", "-wd", str(Path.cwd()), "-r", "y", "-j", "y"]
    command += ["-N", f"nc-{name}", "-o", str(logs.absolute() / f"{name}.$JOB_ID.log")]
    try:
        command += submit_options(read_site(SITE), resources)
    except InputError as error:
        sys.exit(str(error))
    # Snakemake lets every job use the profile's `cores`; a job of several scans would then use more CPUs than it has slots.
    script.write_text(re.sub(r"(?<= --cores )\S+", str(resources.threads), text))
    done = subprocess.run([*command, str(script)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}; see its message above, and the names in {SITE}.")
    print(done.stdout.strip().splitlines()[-1].split(".")[0])  # a site's own messages come first


if __name__ == "__main__":
    main()
