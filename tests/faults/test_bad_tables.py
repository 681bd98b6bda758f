"""No bad table is wrong silently: it is refused with its row and column, or a note says what was decided."""

import io
import struct
import tarfile

import pytest
from bad_cohort_tables import IXI, OASIS, PARTICIPANTS
from bad_files import good, zipped
from bad_tables import OWN, STUDIES, STUDY
from neurocohort.errors import InputError
from neurocohort.sources.bids import ingest_bids
from neurocohort.sources.ixi import ingest_ixi
from neurocohort.sources.oasis1 import ingest_oasis1
from neurocohort.sources.table import ingest_table
from neurocohort.study.configuration import check_configuration
from outcomes import what_is_wrong

KIND = "Bad table"

IMAGE = zipped(good(shape=(6, 7, 8)))


@pytest.fixture
def each(tmp_path, record_property):
    """Put every case of a collection into a folder of its own; one that fails hides no other."""

    def run(cases, wrong_of):
        wrong = {}
        for number, (name, case) in enumerate(cases.items()):
            folder = tmp_path / str(number)
            folder.mkdir()
            if problem := wrong_of(folder, case):
                wrong[name] = problem
        record_property("tries", len(cases))
        record_property("lost", len(wrong))
        assert not wrong, "\n".join(f"{name}: {problem}" for name, problem in wrong.items())

    return run


def written_in(folder, case):
    content = case.content if isinstance(case.content, bytes) else case.content(folder)
    (folder / case.name).write_bytes(content)
    return folder / case.name


def test_tables_of_scans(each):
    assert len(OWN) >= 40

    def wrong_of(folder, case):
        for name in ("a.nii.gz", "b.nii.gz", "c.nii.gz", "sub-07_T1w.nii.gz"):
            (folder / name).write_bytes(IMAGE)
        table = written_in(folder, case)
        return what_is_wrong(lambda data: ingest_table(table, data), folder / "data", case.must)

    each(OWN, wrong_of)


def test_participants_of_a_bids_folder(each):
    def wrong_of(folder, case):
        source = folder / "study"
        for name in ("sub-01", "sub-02"):
            (source / name / "anat").mkdir(parents=True)
            (source / name / "anat" / f"{name}_T1w.nii.gz").write_bytes(IMAGE)
        (source / "participants.tsv").write_bytes(case.content)
        (source / "participants.json").write_bytes(case.json)
        return what_is_wrong(lambda data: ingest_bids(source, data), folder / "data", case.must)

    each(PARTICIPANTS, wrong_of)


def tar_of(path, members: dict[str, bytes]):
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_spreadsheets_of_ixi(each, tmp_path):
    names = ("IXI012-HH-1211-T1.nii.gz", "IXI013-HH-1212-T1.nii.gz")
    archive = tar_of(tmp_path / "IXI-T1.tar", dict.fromkeys(names, IMAGE))

    def wrong_of(folder, case):
        table = written_in(folder, case)
        return what_is_wrong(lambda data: ingest_ixi([archive], table, data), folder / "data", case.must)

    each(IXI, wrong_of)


def test_tables_of_oasis1(each, tmp_path):
    header = bytearray(348)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 4, 6, 7, 8, 1, 0, 0, 0)
    struct.pack_into("<hh4f", header, 70, 4, 16, 0.0, 1.0, 1.0, 1.0)
    stem = "disc1/OAS1_0001_MR1/PROCESSED/MPRAGE/SUBJ_111/OAS1_0001_MR1_mpr_n4_anon_sbj_111"
    pair = {f"{stem}.hdr": bytes(header), f"{stem}.img": bytes(range(1, 169)) * 4}
    disc = tar_of(tmp_path / "oasis_cross-sectional_disc1.tar", pair)

    def wrong_of(folder, case):
        table = written_in(folder, case)
        return what_is_wrong(lambda data: ingest_oasis1([disc], table, data), folder / "data", case.must)

    each(OASIS, wrong_of)


def test_what_no_row_of_a_table_satisfies_is_found_before_anything_runs(each):
    def wrong_of(folder, case):
        asked, words = case
        (folder / "a.nii.gz").touch()
        (folder / "scans.csv").write_bytes(STUDY)
        experiment = {"task": "regression", "target": "age", "cohorts": ["own"], "network": {"name": "sfcn"}} | asked
        cohorts = {"own": {"source": "table", "path": str(folder / "scans.csv")}}
        try:
            check_configuration(
                {"study": "own", "cohorts": cohorts, "experiments": {"e": experiment}}, source="study.yaml"
            )
        except InputError as error:
            return "" if words in str(error) else str(error)
        return "no error"

    each(STUDIES, wrong_of)
