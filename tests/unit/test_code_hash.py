"""A rule reruns for the code behind it, and for no other."""

import ast
import shutil

import neurocohort.codehash as codehash
import pytest


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package whose files may be changed."""
    root = tmp_path / "neurocohort"
    shutil.copytree(codehash.ROOT, root, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(codehash, "ROOT", root)
    monkeypatch.setattr(codehash, "COMMANDS", root / "commands")

    def forget():
        for cached in vars(codehash).values():
            if hasattr(cached, "cache_clear"):
                cached.cache_clear()

    def hashes():
        forget()
        names = [
            "phantom",
            "download",
            "ingest",
            "preprocess",
            "quality",
            "pack",
            "select",
            "train",
            "predict",
            "report",
        ]
        return {name: codehash.code_hash(name) for name in names}

    yield root, hashes
    forget()


def changed(package, file, text="\nADDED = 1\n"):
    root, hashes = package
    before = hashes()
    path = root / file
    path.write_text(path.read_text() + text)
    after = hashes()
    return {name for name in before if before[name] != after[name]}


def test_registration_reruns_preprocessing_and_no_download(package):
    found = changed(package, "imaging/registration.py")
    assert "preprocess" in found and not found & {"phantom", "download", "ingest"}


def test_report_code_and_its_templates_rerun_the_report_alone(package):
    assert changed(package, "reporting/pages.py") == {"report"}
    assert changed(package, "reporting/templates/report.css", "/* more */") == {"report"}


def test_training_loop_reruns_training(package):
    found = changed(package, "learning/training.py")
    assert "train" in found and not found & {"phantom", "download", "ingest", "preprocess", "pack", "report"}


def test_touch_reruns_nothing(package):
    root, hashes = package
    before = hashes()
    for path in root.rglob("*.py"):
        path.touch()
    assert hashes() == before


def test_change_of_one_subcommand_reruns_no_other(package):
    root, hashes = package
    before = hashes()
    split = codehash.code_hash("split")
    commands = root / "commands" / "data.py"
    commands.write_text(commands.read_text().replace('"""Split a cohort by participant, ', '"""Split a cohort, '))
    assert hashes() == before, "split is none of those asked for"
    assert codehash.code_hash("split") != split


def test_a_package_behind_a_subcommand_counts_as_its_modules_do(package):
    assert "train" in changed(package, "learning/tasks/segmentation.py")


def parsed_imports(source):
    """As Python itself reads them."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {file for name in modules if (file := codehash._file_of(name))}


def test_every_import_of_the_package_is_found():
    for file in sorted(codehash.ROOT.rglob("*.py")):
        source = file.read_text()
        assert codehash._imported(source) == parsed_imports(source), file


def test_imports_are_found_in_every_form():
    source = """
from neurocohort.imaging import (
    quality,  # a comment
    rigid as other,
)
def late():
    from neurocohort import files; import neurocohort.errors
    import neurocohort.members as them, neurocohort.dataset.pack
"""
    assert codehash._imported(source) == parsed_imports(source)
    assert len(parsed_imports(source)) == 7
