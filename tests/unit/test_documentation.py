"""The documentation site can be built, and it has what is generated from the code."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("material", reason="mkdocs-material is not installed")


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(repository, tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"PYTHONPATH": str(repository / "workflow"), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "preprocess-batch" in (tmp_path / "site/command_line/index.html").read_text(encoding="utf-8")
    configuration = (tmp_path / "site/configuration/index.html").read_text(encoding="utf-8")
    assert "preprocessing.brain_extraction" in configuration
    assert 'href="../segmentation/#name-the-structures"' in configuration
