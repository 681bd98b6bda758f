"""What made the report: inputs with their sha256, seeds, and that no large archive is read twice for it."""

import hashlib
import os

import pandas as pd
import pytest
from neurocohort.files import read_table, write_table, write_text
from neurocohort.report import inputs, provenance
from neurocohort.report.study import Folders, Study, read_study

IXI = {"cohorts": {"ixi": {"source": "ixi", "base_url": "", "modalities": ["T1w", "T2w"]}}}


@pytest.fixture
def folders(tmp_path):
    """Resources with IXI's three files, as a download left them, and a folder of results."""
    store = tmp_path / "resources" / "ixi"
    rows = []
    for name in ("IXI-T1.tar", "IXI-T2.tar", "IXI.xls"):
        write_text(store / name, f"content of {name}")
        content = (store / name).read_bytes()
        rows.append({"file": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    write_table(store / "checksums.tsv", pd.DataFrame(rows))
    return tmp_path / "resources", tmp_path / "results"


def study_of(folders: tuple, configuration: dict) -> Study:
    resources, results = folders
    return read_study(Folders(results, resources.parent / "data"), configuration)


def no_reading(path):
    raise AssertionError(f"{path} was read again")


def test_recorded_sha256_is_taken_and_the_archive_not_read(folders, monkeypatch):
    monkeypatch.setattr(inputs, "sha256_of", no_reading)
    found = inputs.input_archives(study_of(folders, IXI))
    assert [one.file for one in found] == [f"resources/ixi/{name}" for name in ("IXI-T1.tar", "IXI-T2.tar", "IXI.xls")]
    assert found[0].sha256 == hashlib.sha256(b"content of IXI-T1.tar").hexdigest()
    assert all(one.recorded and one.cohort == "ixi" for one in found)


def test_linked_archive_is_hashed_once_and_again_only_when_it_changed(folders, monkeypatch, tmp_path):
    resources, results = folders
    own = tmp_path / "elsewhere" / "IXI-T1.tar"
    write_text(own, "an archive of one's own")
    (resources / "ixi" / "IXI-T1.tar").unlink()
    (resources / "ixi" / "IXI-T1.tar").symlink_to(own)

    def first():
        return inputs.input_archives(study_of(folders, IXI))[0]

    found = first()
    assert found.sha256 == hashlib.sha256(b"an archive of one's own").hexdigest() and not found.recorded
    assert len(read_table(results / "input_checksums.tsv")) == 1
    with monkeypatch.context() as patched:
        patched.setattr(inputs, "sha256_of", no_reading)
        assert first() == found
    write_text(own, "an archive that's changed")
    os.utime(own, ns=(1, 1))
    assert first().sha256 == hashlib.sha256(b"an archive that's changed").hexdigest()
    assert len(read_table(results / "input_checksums.tsv")) == 1


def test_link_to_another_runs_download_takes_that_ones_record(folders, monkeypatch, tmp_path):
    resources, _ = folders
    configuration = {"cohorts": {"mine": IXI["cohorts"]["ixi"] | {"base_url": "old/resources/ixi"}}}
    store = resources / inputs.store_of(configuration["cohorts"]["mine"])
    store.mkdir()
    for name in ("IXI-T1.tar", "IXI-T2.tar", "IXI.xls"):
        (store / name).symlink_to(resources / "ixi" / name)
    monkeypatch.setattr(inputs, "sha256_of", no_reading)
    found = inputs.input_archives(study_of(folders, configuration))
    assert all(one.recorded for one in found) and found[0].file == f"resources/{store.name}/IXI-T1.tar"


def test_archive_that_is_gone_is_in_the_ledger(folders):
    resources, _ = folders
    (resources / "ixi" / "IXI-T2.tar").unlink()
    study = study_of(folders, IXI)
    found = inputs.input_archives(study)
    assert found[1].sha256 is None and found[0].sha256
    assert [item.file for item in study.sources.missing] == ["resources/ixi/IXI-T2.tar"]


def test_files_are_those_that_the_study_takes():
    oasis = {"source": "oasis1", "discs": [2, 11], "table": "oasis_cross-sectional.xlsx"}
    names = ["oasis_cross-sectional_disc2.tar.gz", "oasis_cross-sectional_disc11.tar.gz", "oasis_cross-sectional.xlsx"]
    assert inputs.file_names(oasis) == names
    assert inputs.file_names({"source": "bids", "path": "scans"}) == []


def test_every_seed_of_the_configuration_is_recorded():
    configuration = {
        "split": {"seed": 4, "folds": 5},
        "experiments": {"age": {"training": {"seeds": [1, 2]}, "sweep": {"seed": 9, "values": {}}}},
    }
    expected = {"split.seed": 4, "experiments.age.training.seeds": [1, 2], "experiments.age.sweep.seed": 9}
    assert provenance.seeds_of(configuration) == expected


def test_gpus_are_those_that_nvidia_smi_names(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.gpus() == []
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA A100-SXM4-40GB, 550.54'\n", encoding="utf-8")
    tool.chmod(0o755)
    assert provenance.gpus() == [provenance.Gpu("NVIDIA A100-SXM4-40GB", "550.54")]
