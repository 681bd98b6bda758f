"""The interfaces of Snakemake and its plugins that the workflow uses: a version that has lost one fails here, not in a run."""

import importlib.metadata
import inspect
import re
from dataclasses import fields

import pytest
import snakemake.api  # noqa: F401  before its parts, which import one another
import snakemake_executor_plugin_cluster_generic as cluster_generic
import snakemake_executor_plugin_slurm as slurm
from neurocohort.cluster.schedulers import SCHEDULERS, submitted_number
from packaging.requirements import Requirement
from snakemake.dag import DAG
from snakemake.exceptions import print_exception
from snakemake.jobs import GroupJob, Job
from snakemake.persistence import PersistenceBase
from snakemake.resources import Resources
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake.settings.types import DAGSettings, ResourceSettings
from snakemake.workflow import Workflow
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_trees import REPOSITORY

CEILED = ["snakemake", "snakemake-executor-plugin-slurm", "snakemake-executor-plugin-cluster-generic"]


def source_of(thing) -> str:
    return inspect.getsource(thing)


@pytest.mark.parametrize("name", CEILED)
def test_version_is_one_that_the_workflow_was_tested_with(name):
    lines = (REPOSITORY / "envs" / "requirements.in").read_text(encoding="utf-8").splitlines()
    (allowed,) = [Requirement(line).specifier for line in lines if re.match(rf"{name}[<>=]", line)]
    assert any(each.operator == "<" for each in allowed), "the version has a ceiling"
    assert importlib.metadata.version(name) in allowed


def test_workflow_has_what_the_handlers_read():
    for name in (
        "is_main_process",
        "remote_exec",
        "executor_plugin",
        "dryrun",
        "touch",
        "dag",
        "persistence",
        "scheduler",
    ):
        assert isinstance(inspect.getattr_static(Workflow, name), property), name
    assert "default_resources" in {field.name for field in fields(ResourceSettings)}
    assert "resource_settings" in {field.name for field in fields(Workflow)}
    assert callable(Workflow.async_run) and isinstance(inspect.getattr_static(DAG, "jobs"), property)
    assert "self.running" in source_of(JobScheduler.__init__)
    assert Resources.parse(["gpu_type=a100"], allow_expressions=True)["gpu_type"].raw == "a100"


def test_jobs_and_records_have_what_the_handlers_call():
    for name in ("jobid", "is_local", "attempt", "restart_times", "resources", "wildcards_dict", "output", "log"):
        assert hasattr(Job, name) or f"self.{name}" in source_of(Job.__init__), name
    assert list(inspect.signature(Job.remove_existing_output).parameters) == ["self"]
    assert inspect.iscoroutinefunction(Job.remove_existing_output)
    assert callable(Job.is_group) and callable(GroupJob.is_group)
    assert list(inspect.signature(PersistenceBase.finished).parameters) == ["self", "job"]
    assert inspect.iscoroutinefunction(PersistenceBase.finished)
    assert list(inspect.signature(PersistenceBase.started).parameters) == ["self", "job", "external_jobid"]


def test_a_record_of_a_submitted_job_is_written_in_the_main_process():
    """`finished` writes what a job is made from; a job's own Snakemake only takes the mark of an incomplete file away."""
    text = source_of(PersistenceBase.finished)
    assert "ExecMode.DEFAULT" in text and "_write_record" in text and "_unmark_incomplete" in text
    assert "_mark_incomplete" in source_of(PersistenceBase.started)


def test_log_has_the_events_that_the_handlers_wait_for():
    assert {"JOB_STARTED", "JOB_ERROR", "GROUP_ERROR"} <= set(LogEvent.__members__)
    assert "event=LogEvent.JOB_STARTED, jobs=[" in source_of(JobScheduler.schedule)
    for name in ("jobid", "rule_msg", "log", "aux", "indent"):
        assert f"{name}=" in source_of(Job.get_log_error_info), name
    assert "exception=ex.__class__.__name__" in source_of(print_exception)


def test_a_dry_run_reports_its_jobs_with_the_fields_that_the_plan_reads():
    assert "JOB_INFO" in LogEvent.__members__
    for name in ("rule_name", "wildcards", "input", "output", "threads", "resources"):
        assert f"{name}=" in source_of(Job.log_info), name
    assert "not self.dag.workflow.dryrun" in source_of(Job.log_info), "why the rule is asked whether it is local"
    assert "self._localrules" in source_of(Workflow.is_local) and "rule.norun" in source_of(Workflow.is_local)


def test_graph_is_announced_after_the_executor_is_known_and_before_the_lock():
    """The handler that takes over from a killed run acts on that line of the log."""
    text = source_of(Workflow.execute)
    assert (
        text.index("self._executor_plugin =") < text.index("self._build_dag()") < text.index("self.persistence.lock()")
    )
    assert source_of(Workflow._build_dag).index("logger.info") < source_of(Workflow._build_dag).index("self.dag.init()")


@pytest.mark.parametrize(
    ("plugin", "line"),
    [
        (slurm, "Job 12 has been submitted with SLURM jobid 4711 (log: train/4711.log)."),
        (cluster_generic, "Submitted job 12 with external jobid '4711'."),
    ],
)
def test_submission_is_logged_in_the_words_that_are_looked_for(plugin, line):
    assert submitted_number(line) == "4711" and submitted_number("Select jobs to execute...") == ""
    words = re.sub(r'"\s*f?"', "", source_of(plugin.Executor.run_job))
    pieces = {
        slurm: ["has been submitted with SLURM jobid {slurm_jobid}"],
        cluster_generic: ["with external jobid '{}'"],
    }
    assert all(piece in words for piece in pieces[plugin]) and len(SCHEDULERS) == len(pieces)


def test_slurm_plugin_has_the_settings_that_the_profile_names():
    names = {field.name for field in fields(slurm.ExecutorSettings)}
    text = (REPOSITORY / "profiles" / "slurm" / "config.yaml").read_text(encoding="utf-8")
    named = {name.replace("-", "_") for name in re.findall(r"^slurm-([a-z-]+):", text, re.MULTILINE)}
    assert named and named <= names


def test_slurm_plugin_asks_for_a_gpu_wherever_there_is_a_model():
    """Why gpu_model is no default resource. Once it is fixed, gpu_type may be called gpu_model again."""
    from types import SimpleNamespace

    asked = slurm.set_gres_string(SimpleNamespace(resources={"gpu_model": "a100", "gpu": 0}))
    assert "--gpus=a100" in asked


def test_a_checkpoint_makes_a_job_build_the_graph_of_all_rules():
    """Why ingest is not defined in jobs of other rules."""
    text = source_of(Workflow._prepare_dag)
    assert "rule.is_checkpoint for rule in self.rules" in text and "allowed_rules" in text
    assert "allowed_rules" in {field.name for field in fields(DAGSettings)}
