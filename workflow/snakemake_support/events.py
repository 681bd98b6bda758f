"""Writes the jobs of a dry run to a file, from Snakemake's own log events, for `neurocohort plan` and `neurocohort doctor`."""

import json
import logging
from dataclasses import asdict
from pathlib import Path

from neurocohort.cluster.jobs import Job, Resources
from snakemake_interface_logger_plugins.common import LogEvent


class JobWriter(logging.Handler):
    """Appends each job that Snakemake reports to ``file``, as a line of JSON with the fields of `Job`."""

    def __init__(self, workflow, file: Path):
        super().__init__()
        self.workflow, self.file = workflow, file

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", None) != LogEvent.JOB_INFO:
            return
        rule = self.workflow.get_rule(record.rule_name)
        # A value that isn't known before other jobs have run is no number.
        requested = {name: record.resources.get(name) for name in ("gpu", "mem_mb", "runtime")}
        known = {name: value for name, value in requested.items() if isinstance(value, int)}
        job = Job(
            rule.name,
            dict(record.wildcards),
            tuple(record.input),
            tuple(record.output),
            Resources(record.threads, **known),
            # A dry run reports every job as not local, whatever its rule says.
            local=rule.norun or rule.name in self.workflow._localrules,
        )
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(job)) + "\n")
