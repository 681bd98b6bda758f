"""The RO-Crate of the run: that it can be read back, and says of each file what is true."""

import json
import warnings

import pytest
from neurocohort.files import sha256_of, write_text
from neurocohort.report.crate import METADATA, write_crate
from rocrate.rocrate import ROCrate

PROVENANCE = {
    "study": "demo",
    "created": "2026-01-02T03:04:05+00:00",
    "neurocohort": "0.1.0",
    "git": {"commit": "0123abc", "dirty": False},
    "command": "snakemake --cores 2",
    "configuration": {"study": "demo", "split": {"seed": 1}},
    "configuration_sha256": "ab" * 32,
    "inputs": [
        {"cohort": "ixi", "file": "resources/ixi/IXI.xls", "bytes": 10, "sha256": "cd" * 32, "recorded": True},
        {"cohort": "ixi", "file": "resources/ixi/IXI-T1.tar", "bytes": None, "sha256": None, "recorded": False},
    ],
    "packages": [
        {"name": "torch", "locked": "2.0", "installed": "2.0+cpu"},
        {"name": "xlwt", "locked": "1", "installed": None},
    ],
}


@pytest.fixture
def report(tmp_path):
    """A report's folder and a repository with a Snakefile beside it."""
    output, repository = tmp_path / "report", tmp_path / "repository"
    for name in (
        "index.html",
        "provenance.json",
        "tables/age_metrics.tsv",
        "mosaics/ixi/a.webp",
        "mosaics/ixi/b.webp",
        "report.zip",
    ):
        write_text(output / name, f"content of {name}")
    write_text(repository / "Snakefile", 'include: "workflow/Snakefile"\n')
    write_text(repository / "workflow" / "Snakefile", 'include: "rules/a.smk"\n')
    write_text(repository / "workflow" / "rules" / "a.smk", "rule all:\n")
    return output, repository


def written(report):
    output, repository = report
    write_crate(output, PROVENANCE, licences={"ixi": "CC BY-SA 3.0"}, repository=repository)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what rocrate finds odd of a crate, it warns of
        return ROCrate(output)


def action_of(crate):
    (found,) = [entity for entity in crate.get_entities() if entity.type == "CreateAction"]
    return found


def test_crate_is_read_back_with_workflow_configuration_inputs_and_results(report):
    crate = written(report)
    action = action_of(crate)
    assert crate.mainEntity.id == "code/Snakefile" and "ComputationalWorkflow" in crate.mainEntity.type
    assert action["instrument"] is crate.mainEntity and "agent" not in action.properties()
    assert action["endTime"] == PROVENANCE["created"] and "snakemake --cores 2" in action["description"]
    objects = {entity.id for entity in action["object"]}
    assert objects == {"configuration.yaml", f"hash://sha256/{'cd' * 32}", "#missing-IXI-T1.tar"}
    results = {entity.id for entity in action["result"]}
    assert results == {"index.html", "provenance.json", "tables/age_metrics.tsv", "mosaics/"}
    profiles = {entity.id for entity in crate.root_dataset["conformsTo"]}
    assert "https://w3id.org/ro/wfrun/workflow/0.5" in profiles


def test_every_file_has_its_sha256(report):
    crate = written(report)
    files = [entity for entity in crate.data_entities if "File" in entity.type]
    assert {"code/Snakefile", "code/workflow/rules/a.smk", "configuration.yaml"} <= {entity.id for entity in files}
    assert all(entity["sha256"] == sha256_of(report[0] / entity.id) for entity in files)


def test_only_installed_packages_are_named(report):
    programs = [entity for entity in written(report).get_entities() if entity.type == "SoftwareApplication"]
    assert [(one["name"], one["softwareVersion"]) for one in programs] == [("torch", "2.0+cpu")]


def test_equal_reports_give_equal_bytes_that_name_no_place_of_the_machine(report):
    written(report)
    first = (report[0] / METADATA).read_bytes()
    written(report)
    assert (report[0] / METADATA).read_bytes() == first
    assert str(report[0].parent) not in first.decode()


def test_without_the_workflows_files_it_is_a_process_run(report):
    (report[1] / "Snakefile").unlink()
    crate = written(report)
    assert crate.mainEntity is None and action_of(crate)["instrument"]["name"] == "neurocohort"
    metadata = json.loads((report[0] / METADATA).read_text(encoding="utf-8"))
    (root,) = [entity for entity in metadata["@graph"] if entity["@id"] == "./"]
    assert [one["@id"] for one in root["conformsTo"]] == ["https://w3id.org/ro/wfrun/process/0.5"]
