"""No object of Snakemake or of its plugins is changed: over the syntax trees of rules, package and profiles."""

import ast

import pytest
from neurocohort.checkout import workflow_files
from snakemake_trees import REPOSITORY, changed_objects, python_of_rules

RULES = sorted([*workflow_files(), REPOSITORY / "workflow" / "probe.smk"])
PACKAGE = REPOSITORY / "workflow" / "neurocohort"
MODULES = sorted([*REPOSITORY.glob("workflow/**/*.py"), *REPOSITORY.glob("profiles/**/*.py")])
PATCHES = [  # each of them stood in this repository once, or does the same
    "workflow.execute = watched",
    "persistence.started = noting(persistence.started)",
    "self.workflow.persistence.started = noting",
    "RemoteExecutor.next_seconds_between_status_checks = property(read, bounded)",
    "DAG.update_groups = update_groups",
    "dag._ready_jobs -= old",
    "settings.status_command: str = 'squeue'",
    "each.resources['gpu_model'] = None",
    "workflow.get_rule('ingest_cohort').is_checkpoint = False",
    "for rule.name in names: pass",
    "with open(file) as workflow.stream: pass",
    "first, rule.threads = 1, 2",
    "del workflow.dag",
    "setattr(settings, name, value)",
    "object.__setattr__(settings, name, value)",
    "delattr(settings, name)",
    "settings.__dict__.update(status_command='squeue')",
    "vars(settings)['status_command'] = 'squeue'",
    "workflow.resource_settings.default_resources.update(gpu_model='')",
]


def test_nothing_of_snakemake_is_changed():
    """The package never imports Snakemake (below), so that only rules, profiles and what imports it can hold its objects."""
    found = {}
    for path in [*RULES, *MODULES]:
        tree = ast.parse(python_of_rules(path) if path in RULES else path.read_text(encoding="utf-8"))
        if changes := changed_objects(tree, may_hold_snakemake=PACKAGE not in path.parents):
            found[str(path.relative_to(REPOSITORY))] = changes
    assert len(MODULES) > 100 and len(RULES) > 10 and not found


@pytest.mark.parametrize("statement", PATCHES)
def test_a_patch_would_be_seen(statement):
    assert changed_objects(ast.parse(statement), may_hold_snakemake=True), statement


@pytest.mark.parametrize(
    "statement",
    [
        "config = check_configuration(config)",
        "os.environ['PATH'] = 'bin'",
        "class Handler:\n    def __init__(self, workflow):\n        self.workflow, self.begun = workflow, False",
        "found = {}\nfound['a'] = 1",
        "logger.addHandler(handler)",
    ],
)
def test_what_is_no_patch_is_left_alone(statement):
    assert not changed_objects(ast.parse(statement), may_hold_snakemake=True)


def test_the_package_never_imports_snakemake():
    for path in PACKAGE.glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0].startswith("snakemake")], path


def test_rules_are_read_as_snakemake_reads_them():
    text = python_of_rules(REPOSITORY / "workflow" / "rules" / "ingest.smk")
    assert "workflow.checkpoint" in text or "checkpoint=True" in text
