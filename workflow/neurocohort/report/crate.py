"""The run as an RO-Crate (Soiland-Reyes et al. 2022).

``ro-crate-metadata.json`` in the report's folder describes the program, its inputs and its results, each with its sha256. The
profile is Workflow Run Crate where the workflow's own files are available (copies are in ``code/``), else Process Run Crate. The
crate names no agent, because the workflow doesn't know who ran it.
"""

import shutil
from pathlib import Path

import yaml
from rocrate.model.computationalworkflow import ComputationalWorkflow
from rocrate.model.computerlanguage import ComputerLanguage
from rocrate.model.contextentity import ContextEntity
from rocrate.model.entity import Entity
from rocrate.model.softwareapplication import SoftwareApplication
from rocrate.rocrate import ROCrate

from neurocohort.checkout import CHECKOUT, workflow_files
from neurocohort.files import sha256_of, write_text

METADATA = "ro-crate-metadata.json"
VERSION = "1.1"  # of RO-Crate, which the run profiles 0.5 build on
RUN_CONTEXT = "https://w3id.org/ro/terms/workflow-run/context"  # defines sha256 and the like
PROCESS_RUN = ("https://w3id.org/ro/wfrun/process/0.5", "Process Run Crate", "0.5")
WORKFLOW_RUN = ("https://w3id.org/ro/wfrun/workflow/0.5", "Workflow Run Crate", "0.5")
WORKFLOW_CRATE = ("https://w3id.org/workflowhub/workflow-ro-crate/1.0", "Workflow RO-Crate", "1.0")
CODE_FOLDER, CONFIGURATION = "code", "configuration.yaml"
EACH_FILE = ("tables",)  # folders whose files are described one by one; other folders are described as a whole
FORMATS = {
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
    ".html": "text/html",
    ".md": "text/markdown",
    ".bib": "application/x-bibtex",
    ".yaml": "application/yaml",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
    ".png": "image/png",
}
LEFT_OUT = {METADATA, "report.zip"}  # the description itself, and a zip file that contains it


def write_crate(output: Path, provenance: dict, *, licences: dict[str, str], repository: Path | None = None) -> None:
    """Write ``ro-crate-metadata.json``, ``configuration.yaml`` and copies of the workflow's rules into the finished report.

    Equal reports give equal bytes.

    Args:
        output: The report's folder, complete except for the zip file.
        provenance: The record of `provenance.collect`.
        licences: The terms of the data, by cohort.
        repository: The folder with the Snakefile; by default the checkout from which this package runs.
    """
    repository = repository or CHECKOUT
    write_text(output / CONFIGURATION, yaml.safe_dump(provenance["configuration"], sort_keys=False, allow_unicode=True))
    rules = _copied_rules(repository, output / CODE_FOLDER)
    crate = ROCrate(version=VERSION)
    crate.metadata.extra_contexts.append(RUN_CONTEXT)
    _describe_root(crate, provenance, licences)
    instrument = _workflow(crate, output, provenance, rules) if rules else _program(crate, provenance)
    configuration = _file(crate, output, output / CONFIGURATION, "The configuration as run, defaults filled in")
    inputs = [_input(crate, one) for one in provenance.get("inputs") or []]
    results = _results(crate, output)
    action = {
        "@type": "CreateAction",
        "name": f"Run of the study {provenance['study']}",
        "endTime": provenance["created"],
        "actionStatus": {"@id": "http://schema.org/CompletedActionStatus"},
    }
    if provenance.get("command"):
        action["description"] = f"Command: {provenance['command']}"
    run = crate.add(ContextEntity(crate, f"#run-{provenance['configuration_sha256'][:12]}", properties=action))
    run["instrument"], run["object"], run["result"] = instrument, [configuration, *inputs], results
    crate.root_dataset["mentions"] = [run]
    profiles = [PROCESS_RUN, WORKFLOW_RUN, WORKFLOW_CRATE] if rules else [PROCESS_RUN]
    crate.root_dataset["conformsTo"] = [_profile(crate, *profile) for profile in profiles]
    crate.metadata.write(output)


def _results(crate: ROCrate, output: Path) -> list[Entity]:
    """The files of the report with their sha256. A folder of pictures or pages is one entry."""
    found = []
    for path in sorted(output.iterdir()):
        if path.is_dir() and path.name in EACH_FILE:
            found += [_file(crate, output, one) for one in sorted(path.rglob("*")) if one.is_file()]
        elif path.is_dir() and path.name != CODE_FOLDER:
            files = sum(one.is_file() for one in path.rglob("*"))
            properties = {"name": path.name, "description": f"{files} files"}
            found.append(crate.add_dataset(path, dest_path=f"{path.name}/", properties=properties))
        elif path.is_file() and path.name not in {*LEFT_OUT, CONFIGURATION}:
            found.append(_file(crate, output, path))
    return found


def _describe_root(crate: ROCrate, provenance: dict, licences: dict[str, str]) -> None:
    crate.name = f"neurocohort report of the study {provenance['study']}"
    crate.description = "Report of a brain-MRI study: the tables of its results, what made them, and the methods text."
    crate.root_dataset["datePublished"] = provenance["created"]
    terms = "; ".join(f"{cohort}: {licence}" for cohort, licence in licences.items()) or "not recorded"
    properties = {
        "@type": "CreativeWork",
        "name": "Terms of the data",
        "description": f"The results are derived from: {terms}.",
    }
    crate.root_dataset["license"] = crate.add(ContextEntity(crate, "#terms", properties=properties))


def _copied_rules(repository: Path, folder: Path) -> list[Path]:
    """Copies of the Snakefile and its rule files, the Snakefile first; empty without a Snakefile."""
    originals = workflow_files(repository)
    copies = [folder / path.relative_to(repository) for path in originals]
    for original, copy in zip(originals, copies, strict=True):
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(original, copy)
    return copies


def _workflow(crate: ROCrate, output: Path, provenance: dict, rules: list[Path]) -> Entity:
    language = crate.add(
        ComputerLanguage(
            crate,
            "https://w3id.org/workflowhub/workflow-ro-crate#snakemake",
            properties={
                "name": "Snakemake",
                "identifier": {"@id": "https://snakemake.github.io"},
                "url": {"@id": "https://snakemake.github.io"},
            },
        )
    )
    first, *others = rules
    properties = {
        "name": "neurocohort",
        "description": "From a brain-MRI cohort's archives to a held-out report.",
        "sha256": sha256_of(first),
        "version": _version(provenance),
    }
    path = first.relative_to(output).as_posix()
    workflow = crate.add(ComputationalWorkflow(crate, first, path, properties=properties))
    workflow["programmingLanguage"] = language
    workflow["hasPart"] = [_file(crate, output, path, "Rules of the workflow") for path in others]
    workflow["softwareRequirements"] = _packages(crate, provenance)
    crate.mainEntity = workflow
    return workflow


def _program(crate: ROCrate, provenance: dict) -> Entity:
    program = crate.add(
        SoftwareApplication(crate, "#neurocohort", properties={"name": "neurocohort", "version": _version(provenance)})
    )
    program["softwareRequirements"] = _packages(crate, provenance)
    return program


def _version(provenance: dict) -> str:
    git = provenance.get("git") or {}
    dirty = " with uncommitted changes" if git.get("dirty") else ""
    return f"commit {git['commit']}{dirty}" if git.get("commit") else provenance["neurocohort"]


def _packages(crate: ROCrate, provenance: dict) -> list[Entity]:
    """The installed packages of the lock file with their versions."""
    packages = [one for one in provenance.get("packages") or [] if one["installed"]]
    return [
        crate.add(
            SoftwareApplication(
                crate, f"#package-{one['name']}", properties={"name": one["name"], "softwareVersion": one["installed"]}
            )
        )
        for one in packages
    ]


def _input(crate: ROCrate, archive: dict) -> Entity:
    """An input archive, which is not in the crate; its identifier is its hash, where that is known."""
    identifier = f"hash://sha256/{archive['sha256']}" if archive["sha256"] else f"#missing-{Path(archive['file']).name}"
    properties = {"@type": "CreativeWork", "name": archive["file"]}
    properties["description"] = f"Input of the cohort {archive['cohort']}; not part of this crate"
    if archive["sha256"]:
        properties |= {"sha256": archive["sha256"], "contentSize": str(archive["bytes"])}
    return crate.add(ContextEntity(crate, identifier, properties=properties))


def _file(crate: ROCrate, output: Path, path: Path, name: str = "") -> Entity:
    relative = path.relative_to(output).as_posix()
    properties = {"name": name or relative, "sha256": sha256_of(path), "contentSize": str(path.stat().st_size)}
    if path.suffix in FORMATS:
        properties["encodingFormat"] = FORMATS[path.suffix]
    return crate.add_file(path, dest_path=relative, properties=properties)


def _profile(crate: ROCrate, identifier: str, name: str, version: str) -> Entity:
    properties = {"@type": "CreativeWork", "name": name, "version": version}
    return crate.add(ContextEntity(crate, identifier, properties=properties))
