"""Where the rules find each scan's files."""

import pandas as pd
import pytest
from neurocohort.errors import InputError
from neurocohort.files import write_table
from neurocohort.sources.scan_paths import read_scan_paths


def test_a_scans_files_are_read_as_ingest_wrote_them(tmp_path):
    rows = {
        "scan_id": ["007", "b"],
        "site": ['"The" site', None],
        "path": ["sub-7/a.nii.gz", "sub-b/a, b.nii.gz"],
        "path_T2w": ["sub-7/t2.nii.gz", None],
        "dseg_path": [None, None],
        "dseg_reference_path": [None, None],
        "comment": ["two\nlines", "a\ttab"],
    }
    write_table(tmp_path / "scans.tsv", pd.DataFrame(rows))
    none = {"dseg_path": None, "dseg_reference_path": None}
    assert read_scan_paths(tmp_path / "scans.tsv") == {
        "007": {"path": "sub-7/a.nii.gz", "path_T2w": "sub-7/t2.nii.gz"} | none,
        "b": {"path": "sub-b/a, b.nii.gz", "path_T2w": None} | none,
    }


@pytest.mark.parametrize("content", ["", "scan_id\tsite\na\tb\n", "scan_id\tpath\na\n"])
def test_a_table_that_was_damaged_is_named(tmp_path, content):
    (tmp_path / "scans.tsv").write_text(content)
    with pytest.raises(InputError, match=r"scans\.tsv can't be read"):
        read_scan_paths(tmp_path / "scans.tsv")
