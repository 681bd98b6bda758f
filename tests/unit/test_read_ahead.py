"""Scans that are read while the one before is processed."""

import threading
from pathlib import Path

import pytest
from neurocohort.errors import ScanExcluded
from neurocohort.imaging.read_ahead import ReadAhead

FIRST, SECOND, THIRD = Path("first"), Path("second"), Path("third")


class Reader:
    def __init__(self):
        self.read, self.threads = [], {}

    def __call__(self, path):
        self.read.append(path)
        self.threads[path] = threading.current_thread()
        if path == SECOND:
            raise ScanExcluded("read", "it is empty")
        return path.name


def test_the_next_file_is_read_once_in_a_thread_and_its_fault_waits_for_its_turn():
    reader = Reader()
    ahead = ReadAhead(reader)
    assert ahead.take(FIRST, SECOND) == "first"
    with pytest.raises(ScanExcluded, match="it is empty"):
        ahead.take(SECOND, THIRD)
    assert ahead.take(THIRD, None) == "third"
    assert reader.read == [FIRST, SECOND, THIRD]
    assert reader.threads[FIRST] is threading.main_thread()
    assert reader.threads[THIRD] is not threading.main_thread()


def test_a_file_that_another_worker_took_is_passed_over():
    reader = Reader()
    ahead = ReadAhead(reader)
    ahead.take(FIRST, THIRD)
    ahead.take(FIRST, None)
    assert ahead.take(THIRD, None) == "third"
