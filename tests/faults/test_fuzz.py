"""A file with bytes changed at random is read, or refused with the product's own error, in bounded time and memory."""

import tarfile
import time

import pytest
from fuzz import LOST, fuzz, quiet, written
from fuzz_seeds import ixi_members, seeds, tar
from neurocohort.errors import InputError
from neurocohort.sources.table_plan import plan_table

KIND = "Files of every kind with bytes changed at random"
SECONDS = 20


@pytest.mark.parametrize("name", seeds())
def test_the_unchanged_file_is_read(tmp_path, name):
    seed = seeds()[name]
    seed.read(written(tmp_path, seed, seed.pack(seed.content) if seed.pack else seed.content))


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.size": "abc"},
        {"GNU.sparse.map": "1,x"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
        {"size": "9" * 30},
    ],
)
def test_an_archive_with_lying_numbers_in_its_headers_is_refused_at_once(tmp_path, headers):
    seed = seeds()["ixi tar"]
    path = written(tmp_path, seed, tar(ixi_members(), tarfile.PAX_FORMAT, headers))
    begun = time.process_time()
    with pytest.raises(InputError, match=r"IXI-T1.tar is cut short or damaged"):
        seed.read(path)
    assert time.process_time() - begun < 30


def test_an_id_that_no_file_name_has_room_for_is_refused_with_its_row(tmp_path):
    (tmp_path / "scans.csv").write_text(f"participant_id,path\n{'a' * 300},scan.nii\n")
    with pytest.raises(InputError, match=r"scans.csv, row 2, column participant_id .*up to 60 letters"):
        plan_table(tmp_path / "scans.csv")


def test_randomly_changed_files_are_read_or_refused(record_property):
    with quiet():
        counts, lost = fuzz(SECONDS, run=1)
    record_property("tries", sum(count.total() for count in counts.values()))
    record_property("lost", sum(count[LOST] for count in counts.values()))
    assert not lost, "\n\n".join(f"{case.command}\n{reason}" for case, reason in lost)
    assert all(count.total() > 0 for count in counts.values())
