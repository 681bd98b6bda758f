"""A file with bytes changed at random is read, or refused with the product's own error, in bounded time and memory."""

import pytest
from fuzz import LOST, fuzz, quiet, written
from fuzz_seeds import seeds

KIND = "Files of every kind with bytes changed at random"
SECONDS = 20


@pytest.mark.parametrize("name", seeds())
def test_the_unchanged_file_is_read(tmp_path, name):
    seed = seeds()[name]
    seed.read(written(tmp_path, seed, seed.pack(seed.content) if seed.pack else seed.content))


def test_randomly_changed_files_are_read_or_refused(record_property):
    with quiet():
        counts, lost = fuzz(SECONDS, run=1)
    record_property("tries", sum(count.total() for count in counts.values()))
    record_property("lost", sum(count[LOST] for count in counts.values()))
    assert not lost, "\n\n".join(f"{case.command}\n{reason}" for case, reason in lost)
    assert all(count.total() > 0 for count in counts.values())
