"""The synthetic cohorts: their archives look like the real ones, and they hold the effects that they promise."""

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xlrd
from neurocohort.errors import InputError
from neurocohort.files import read_table
from neurocohort.sources import ixi, oasis1
from neurocohort.synthetic.anatomy import FIELDS, prepare_anatomy
from neurocohort.synthetic.archives import write_ixi_archives, write_oasis1_archives
from neurocohort.synthetic.heads import GUYS, IOP, OASIS, Grid, draw_head, draw_person
from neurocohort.synthetic.painting import MARKER_MNI_MM, HeadFeatures
from scipy import ndimage

SPACING_MM = 4.0
IXI_PARTICIPANTS, OASIS_PARTICIPANTS = 6, 8
IXI_XLS_COLUMNS = (
    "IXI_ID SEX_ID_(1=m,_2=f) HEIGHT WEIGHT ETHNIC_ID MARITAL_ID OCCUPATION_ID QUALIFICATION_ID DOB "
    "DATE_AVAILABLE STUDY_DATE AGE"
)


@pytest.fixture(scope="module")
def anatomy():
    return prepare_anatomy()


@pytest.fixture(scope="module", autouse=True)
def _anatomy_is_prepared_once(anatomy):
    """Both writers prepare the same anatomy; the tests spare themselves the repeats."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("archives", "oasis1"):
            patch.setattr(f"neurocohort.synthetic.{module}.prepare_anatomy", lambda: anatomy)
        yield


@pytest.fixture(scope="module")
def ixi_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ixi")
    write_ixi_archives(folder, participants=IXI_PARTICIPANTS, seed=3, spacing_mm=SPACING_MM, marker_left_temple=True)
    return folder


@pytest.fixture(scope="module")
def oasis_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("oasis1")
    write_oasis1_archives(
        folder, participants=OASIS_PARTICIPANTS, seed=3, spacing_mm=SPACING_MM, marker_left_temple=True
    )
    return folder


def ras_grid(spacing_mm: float) -> tuple[tuple[int, int, int], np.ndarray]:
    shape = tuple(round(extent / spacing_mm) for extent in (200, 240, 240))
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = -spacing_mm * (np.array(shape) - 1) / 2
    return shape, affine


def head_of(anatomy, age, cdr, seed, site=GUYS, spacing_mm=SPACING_MM, **features):
    rng = np.random.default_rng(seed)
    person = draw_person(anatomy, age=age, sex="F", cdr=cdr, rng=rng)
    return draw_head(anatomy, person, site, Grid(*ras_grid(spacing_mm)), rng=rng, features=HeadFeatures(**features))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def marker_position_mm(image: np.ndarray, affine: np.ndarray, native_to_mni: np.ndarray) -> np.ndarray:
    """Where the brightest blob of the image lies, in MNI mm."""
    blob = ndimage.gaussian_filter(image.astype(float), 1.0)
    voxel = np.unravel_index(blob.argmax(), blob.shape)
    return (native_to_mni @ affine @ [*voxel, 1])[:3]


def analyze_image(archive: tarfile.TarFile, stem: str) -> tuple[np.ndarray, nib.AnalyzeHeader]:
    header = nib.AnalyzeHeader.from_fileobj(io.BytesIO(archive.extractfile(f"{stem}.hdr").read()))
    data = np.frombuffer(archive.extractfile(f"{stem}.img").read(), header.get_data_dtype())
    return data.reshape(header.get_data_shape(), order="F")[..., 0], header


# The effects


def test_ventricles_double_and_grey_matter_shrinks_from_20_to_80(anatomy):
    def volumes(age):
        heads = [head_of(anatomy, age, 0.0, seed).volumes_ml for seed in range(3)]
        return {name: np.mean([head[name] for head in heads]) for name in heads[0]}

    decades = {age: volumes(age) for age in (20, 40, 60, 80)}
    grey = np.array([value["gm"] for value in decades.values()])
    ventricles = np.array([value["ventricles"] for value in decades.values()])
    assert (np.diff(grey) < 0).all()
    assert (np.diff(ventricles) > 0).all()
    assert 1.7 < ventricles[-1] / ventricles[0] < 2.5
    assert 0.003 < (1 - grey[-1] / grey[0]) / 60 < 0.004
    assert 600 < grey[0] < 850
    assert 8 < ventricles[0] < 20
    assert 3 < decades[20]["hippocampus"] < 9


def test_dementia_shrinks_the_hippocampi_and_widens_the_ventricles_by_grade(anatomy):
    by_grade = [head_of(anatomy, 75, cdr, seed=5).volumes_ml for cdr in (0.0, 0.5, 1.0, 2.0)]
    hippocampus = np.array([volumes["hippocampus"] for volumes in by_grade])
    ventricles = np.array([volumes["ventricles"] for volumes in by_grade])
    assert (np.diff(hippocampus) < 0).all()
    assert (np.diff(ventricles) > 0).all()
    assert 0.6 < hippocampus[2] / hippocampus[0] < 0.85
    assert by_grade[3]["csf"] < 1.15 * by_grade[0]["csf"]


def test_dementia_is_visible_on_both_sides_in_the_medial_temporal_lobe_at_3_mm(anatomy):
    healthy, demented = (head_of(anatomy, 75, cdr, seed=5, spacing_mm=3.0) for cdr in (0.0, 1.0))
    x, y, z = np.tensordot(
        (healthy.native_to_mni @ healthy.affine)[:3],
        np.concatenate([np.indices(healthy.labels.shape), np.ones((1, *healthy.labels.shape))]),
        axes=1,
    )
    for side in (-1, 1):
        near = (np.abs(side * x - 30) < 10) & (np.abs(y + 20) < 16) & (np.abs(z + 14) < 12)
        gained = demented.tissues[0][near].sum() - healthy.tissues[0][near].sum()
        assert gained * 0.027 > 0.7, "millilitres of fluid where the hippocampus was"


@pytest.mark.slow
def test_deepbet_finds_the_brain(anatomy, tmp_path):
    import deepbet
    import torch

    torch.set_num_threads(1)
    brains = {}
    for age, site, defaced in ((24, GUYS, False), (84, IOP, False), (78, OASIS, True)):
        head = head_of(anatomy, age, 0.0, seed=age, site=site, spacing_mm=3.0, defaced=defaced)
        path = tmp_path / f"{site.name}.nii.gz"
        nib.save(nib.Nifti1Image(head.scan(np.random.default_rng(1)), head.affine), path)
        brains[str(path)] = head.labels > 0
    masks = [path.replace(".nii.gz", "_mask.nii.gz") for path in brains]
    deepbet.run_bet(list(brains), mask_paths=masks, no_gpu=True)
    for brain, mask in zip(brains.values(), masks, strict=True):
        found = np.asarray(nib.load(mask).dataobj) > 0
        assert 2 * (found & brain).sum() / (found.sum() + brain.sum()) >= 0.95, mask


def test_true_affine_brings_every_brain_onto_the_template(anatomy):
    """The deformation holds no part of the pose: place, size and tilt of the brain in MNI space are the template's."""
    mask_distance = anatomy.brain[:, FIELDS.index("mask_distance")].reshape(anatomy.brain_shape)
    template = np.argwhere(mask_distance < 0) + anatomy.brain_origin_mm
    for seed in range(3):
        head = head_of(anatomy, 30, 0.0, seed, spacing_mm=3.0)
        to_mni = head.native_to_mni @ head.affine
        brain = np.argwhere(head.labels > 0) @ to_mni[:3, :3].T + to_mni[:3, 3]
        assert np.abs(brain.mean(axis=0) - template.mean(axis=0)).max() < 2.5
        assert np.abs(brain.std(axis=0) / template.std(axis=0) - 1).max() < 0.03
        assert np.abs(np.corrcoef(brain.T) - np.corrcoef(template.T)).max() < 0.06
        assert abs(np.linalg.det(head.native_to_mni[:3, :3]) - 1) > 0.05, "the head itself has another size"


# IXI


def test_same_seed_same_bytes_and_another_seed_other_scans(ixi_folder, oasis_folder, tmp_path):
    write_ixi_archives(
        tmp_path / "ixi", participants=IXI_PARTICIPANTS, seed=3, spacing_mm=SPACING_MM, marker_left_temple=True
    )
    write_oasis1_archives(
        tmp_path / "oasis1", participants=OASIS_PARTICIPANTS, seed=3, spacing_mm=SPACING_MM, marker_left_temple=True
    )
    assert digests(tmp_path / "ixi") == digests(ixi_folder)
    assert digests(tmp_path / "oasis1") == digests(oasis_folder)
    write_ixi_archives(tmp_path / "other", participants=4, seed=4, spacing_mm=SPACING_MM)
    assert digests(tmp_path / "other")["IXI-T1.tar"] != digests(ixi_folder)["IXI-T1.tar"]


def test_ixi_archive_is_flat_and_its_scans_are_oblique_psr_int16(ixi_folder):
    with tarfile.open(ixi_folder / "IXI-T1.tar", "r:") as archive:
        members = archive.getmembers()
        contents = {member.name: archive.extractfile(member).read() for member in members}
    assert len(contents) == IXI_PARTICIPANTS + 3
    assert all(ixi.NAME.fullmatch(name) for name in contents)
    assert {name.split("-")[1] for name in contents} == {"Guys", "HH", "IOP"}
    truth = pd.read_csv(ixi_folder / "truth/truth.tsv", sep="\t", na_values="n/a").set_index("id")
    for name, content in contents.items():
        image = nib.Nifti1Image.from_bytes(gzip.decompress(content))
        assert image.shape == (60, 60, 45)
        assert image.get_data_dtype() == np.int16
        assert nib.aff2axcodes(image.affine) == ("P", "S", "R")
        assert (np.abs(image.affine[:3, :3]) > 0).sum() > 3, "oblique"
        labels = nib.load(ixi_folder / f"truth/{name[:6]}_dseg.nii.gz")
        np.testing.assert_allclose(labels.affine, image.affine, atol=1e-4)
        to_mni = np.loadtxt(ixi_folder / f"truth/{name[:6]}_from-native_to-MNI_affine.txt")
        assert marker_position_mm(np.asarray(image.dataobj), image.affine, to_mni)[0] < -60
        assert abs(1000 / 64 * truth.loc[name[:6], "gm_ml"] / (np.asarray(labels.dataobj) == 2).sum() - 1) < 0.15


def test_ixi_table_has_the_real_columns_and_quirks(ixi_folder):
    sheet = xlrd.open_workbook(ixi_folder / "IXI.xls").sheet_by_name("Table")
    header = [str(cell.value) for cell in sheet.row(0)]
    assert " ".join(name.replace(" ", "_") for name in header) == IXI_XLS_COLUMNS
    table = pd.DataFrame([sheet.row_values(line) for line in range(1, sheet.nrows)], columns=header)
    table["AGE"] = pd.to_numeric(table["AGE"])
    truth = pd.read_csv(ixi_folder / "truth/truth.tsv", sep="\t", na_values="n/a")
    scanned = set(truth["id"].str[3:].astype(int))
    assert len(scanned - set(table["IXI_ID"])) == 1, "a scan without a row"
    assert len(set(table["IXI_ID"]) - scanned) == 2, "rows without a scan"
    ages = table.groupby("IXI_ID")["AGE"]
    assert (ages.nunique() == 2).sum() == 1, "conflicting ages"
    assert ((ages.size() == 2) & (ages.nunique() == 1)).sum() == 1, "a repeated row"
    assert table[table["IXI_ID"].isin(scanned)]["AGE"].isna().sum() == 1
    assert (table["HEIGHT"] == 1520).sum() == 1
    usable = truth[truth["usable"] == 1]
    assert len(usable) == IXI_PARTICIPANTS
    listed = ages.first()[usable["id"].str[3:].astype(int)]
    np.testing.assert_allclose(listed.to_numpy(), usable["age"].to_numpy())
    assert usable["age"].between(20, 86).all()
    assert usable["age"].max() - usable["age"].min() > 45


# OASIS-1


def test_oasis_discs_hold_the_real_folders_as_big_endian_analyze(oasis_folder):
    table = pd.read_csv(oasis_folder / "oasis_cross-sectional.csv")
    seen = []
    for disc, (low, high) in ((1, (1, 42)), (2, (43, 80))):
        with tarfile.open(oasis_folder / f"oasis_cross-sectional_disc{disc}.tar.gz", "r:gz") as archive:
            names = archive.getnames()
            sessions = sorted({name.split("/")[1] for name in names})
            seen += sessions
            assert all(low <= int(session[5:9]) <= high for session in sessions)
            assert len(names) == 10 * len(sessions)
            for stem, shape, kind in (
                ("RAW/*_mpr-1_anon", (64, 64, 32), ">i2"),
                ("PROCESSED/MPRAGE/SUBJ_111/*_mpr_n?_anon_sbj_111", (64, 64, 40), ">i2"),
                ("PROCESSED/MPRAGE/T88_111/*_mpr_n?_anon_111_t88_gfc", (44, 52, 44), ">i2"),
                ("PROCESSED/MPRAGE/T88_111/*_mpr_n?_anon_111_t88_masked_gfc", (44, 52, 44), ">i2"),
                ("FSL_SEG/*_mpr_n?_anon_111_t88_masked_gfc_fseg", (44, 52, 44), "u1"),
            ):
                found = [n for n in names if Path(n).match(f"disc{disc}/{sessions[0]}/{stem}.hdr")]
                assert len(found) == 1, stem
                image, header = analyze_image(archive, found[0].removesuffix(".hdr"))
                assert image.shape == shape
                assert header.endianness == ">"
                assert header.get_data_dtype() == np.dtype(kind)
    assert sorted(seen) == sorted(table["ID"])


def test_oasis_table_has_rated_and_unrated_and_repeats_as_the_real_one(oasis_folder):
    table = pd.read_csv(oasis_folder / "oasis_cross-sectional.csv", keep_default_na=False)
    assert ",".join(table.columns) == "ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay"
    repeats = table["ID"].str.endswith("MR2")
    assert repeats.sum() == 1
    assert repeats.iloc[-1], "repeat sessions come last"
    assert (table.loc[~repeats, "Delay"] == "N/A").all()
    assert (table.loc[repeats, "Delay"] != "N/A").all()
    assert (table.loc[repeats, "CDR"] == "").all()
    first = table[~repeats]
    rated = first[first["CDR"] != ""]
    assert len(first) == OASIS_PARTICIPANTS
    assert first.loc[first["CDR"] == "", "Age"].max() < 59
    assert rated["Age"].between(60, 92).all()
    healthy, demented = (rated[(rated["CDR"].astype(float) > 0) == side] for side in (False, True))
    assert abs(len(healthy) - len(demented)) <= 1
    assert abs(healthy["Age"].mean() - demented["Age"].mean()) < 8
    assert table["eTIV"].between(1000, 2000).all()
    assert table["nWBV"].astype(float).between(0.62, 0.9).all()


def test_oasis_left_is_left_in_both_storage_orders(oasis_folder):
    """SUBJ_111 is stored to anterior, superior, left; T88_111 to left, anterior, superior: the capsule is on the left."""
    with tarfile.open(oasis_folder / "oasis_cross-sectional_disc1.tar.gz", "r:gz") as archive:
        for name in [name for name in archive.getnames() if name.endswith("_sbj_111.hdr")]:
            session = name.split("/")[1]
            image, _ = analyze_image(archive, name.removesuffix(".hdr"))
            labels = nib.load(oasis_folder / f"truth/{session}_dseg.nii.gz")
            assert nib.aff2axcodes(labels.affine) == ("A", "S", "L")
            to_mni = np.loadtxt(oasis_folder / f"truth/{session}_from-native_to-MNI_affine.txt")
            marker = marker_position_mm(image, labels.affine, to_mni)
            assert np.abs(marker - MARKER_MNI_MM).max() < 14
            # As stored: beyond the middle of k, near the middle of i.
            stored = np.unravel_index(ndimage.gaussian_filter(image.astype(float), 1.0).argmax(), image.shape)
            assert stored[2] > image.shape[2] / 2 + 8
            t88 = name.replace("SUBJ_111", "T88_111").replace("_sbj_111.hdr", "_111_t88_gfc")
            atlas, _ = analyze_image(archive, t88)
            stored = np.unravel_index(ndimage.gaussian_filter(atlas.astype(float), 1.0).argmax(), atlas.shape)
            assert stored[0] > atlas.shape[0] / 2 + 10


def test_oasis_fseg_agrees_with_the_masked_brain_but_is_not_the_truth(oasis_folder):
    with tarfile.open(oasis_folder / "oasis_cross-sectional_disc1.tar.gz", "r:gz") as archive:
        name = next(name for name in archive.getnames() if name.endswith("_fseg.hdr")).removesuffix(".hdr")
        labels, _ = analyze_image(archive, name)
        masked, _ = analyze_image(archive, name.replace("FSL_SEG", "PROCESSED/MPRAGE/T88_111").removesuffix("_fseg"))
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert ((masked > 0) & (labels == 0)).sum() == 0
    means = [masked[labels == tissue].mean() for tissue in (1, 2, 3)]
    assert means[0] < means[1] < means[2]


def test_oasis_repeat_session_is_the_same_brain_in_another_pose(oasis_folder):
    truth = pd.read_csv(oasis_folder / "truth/truth.tsv", sep="\t", na_values="n/a").set_index("id")
    repeat = next(name for name in truth.index if name.endswith("MR2"))
    first, second = truth.loc[repeat.replace("MR2", "MR1")], truth.loc[repeat]
    assert abs(first["gm_ml"] / second["gm_ml"] - 1) < 0.02
    assert first["pitch_deg"] != second["pitch_deg"]


# What a user can get wrong


def test_impossible_numbers_of_participants_are_refused_with_a_sentence(tmp_path):
    with pytest.raises(InputError, match="at least 4"):
        write_ixi_archives(tmp_path, participants=2, seed=1, spacing_mm=3.0)
    with pytest.raises(InputError, match="can have"):
        write_oasis1_archives(tmp_path, participants=200, seed=1, spacing_mm=3.0)
    with pytest.raises(InputError, match="discs"):
        write_oasis1_archives(tmp_path, participants=10, seed=1, spacing_mm=3.0, discs=13)
    assert not any(tmp_path.iterdir())


def test_ingest_brings_the_synthetic_ixi_to_raw_bids_with_its_true_ages(ixi_folder, tmp_path):
    ixi.ingest_ixi([ixi_folder / "IXI-T1.tar"], ixi_folder / "IXI.xls", tmp_path)
    scans = read_table(tmp_path / "scans.tsv").dropna(subset=["age"])
    truth = read_table(ixi_folder / "truth/truth.tsv")
    truth = truth[truth["usable"] == 1]
    assert ("sub-" + truth["id"]).tolist() == scans["participant_id"].tolist()
    np.testing.assert_allclose(scans["age"].to_numpy(), truth["age"].to_numpy(), atol=0.01)
    assert (scans["sex"].to_numpy() == truth["sex"].to_numpy()).all()
    assert len(read_table(tmp_path / "exclusions.tsv")) >= 1, "the participant whose rows conflict"


def test_ingest_gives_the_synthetic_oasis_the_orientation_of_its_truth(oasis_folder, tmp_path):
    archives = sorted(oasis_folder.glob("*.tar.gz"))
    oasis1.ingest_oasis1(archives, oasis_folder / "oasis_cross-sectional.csv", tmp_path)
    scans = read_table(tmp_path / "scans.tsv")
    truth = read_table(oasis_folder / "truth/truth.tsv")
    assert len(scans) == len(truth) == OASIS_PARTICIPANTS + 1
    for row in scans.itertuples():
        session = f"OAS1_{row.participant_id[-4:]}_MR{row.session_id[-1]}"
        image = nib.load(tmp_path / row.path)
        np.testing.assert_allclose(image.affine, nib.load(oasis_folder / f"truth/{session}_dseg.nii.gz").affine)
        to_mni = np.loadtxt(oasis_folder / f"truth/{session}_from-native_to-MNI_affine.txt")
        assert marker_position_mm(np.asarray(image.dataobj), image.affine, to_mni)[0] < -60
    by_session = truth.set_index("id")["cdr"]
    first = scans[scans["session_id"] == "ses-1"]
    for participant, dementia in zip(first["participant_id"], first["dementia"], strict=True):
        cdr = by_session[f"OAS1_{participant[-4:]}_MR1"]
        assert pd.isna(cdr) == pd.isna(dementia)
        assert pd.isna(cdr) or (cdr > 0) == (dementia == 1)
