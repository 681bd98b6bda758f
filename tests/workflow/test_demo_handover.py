"""The demo handed over: nothing in the archive names a participant, and its results can be computed again from it alone."""

import re
import zipfile

EXPERIMENTS = ("brain_age", "dementia", "tissue")


def test_archive_of_the_demo_names_nobody_and_is_verified_elsewhere(demo, tmp_path):
    archive = tmp_path / "handover.zip"
    demo.run("neurocohort", "export", "--output", str(archive))
    with zipfile.ZipFile(archive) as zipped:
        everything = b"\n".join(name.encode() + b"\n" + zipped.read(name) for name in zipped.namelist())
    assert not re.search(rb"IXI\d{3}|OAS1_?\d{4}", everything)
    assert str(demo.folder).encode() not in everything
    printed = demo.run("neurocohort", "verify", "--baselines", str(archive)).stdout
    assert "FAIL" not in printed
    for name in EXPERIMENTS:
        rows, same = re.search(
            rf"{name}: metrics: (\d+) rows computed again, (\d+) to the last digit", printed
        ).groups()
        assert rows == same and int(rows) > 50


def test_pictures_of_the_demo_are_searched_too(demo, tmp_path):
    archive = tmp_path / "handover.zip"
    demo.run("neurocohort", "export", "--with-images", "--output", str(archive))
    with zipfile.ZipFile(archive) as zipped:
        names = zipped.namelist()
    assert sum(name.startswith("report/subjects/") and name.endswith(".html") for name in names) > 40
    assert not [name for name in names if re.search(r"IXI\d{3}|OAS1", name)]
    assert "FAIL" not in demo.run("neurocohort", "verify", str(archive)).stdout
