"""FA and MD: from IXI's single volumes or a BIDS folder to the channels, compared with tensors that are known."""

import io
import json
import shutil
import tarfile
from pathlib import PurePosixPath

import nibabel as nib
import numpy as np
import pytest
from neurocohort.errors import InputError, ScanExcluded
from neurocohort.files import read_table
from neurocohort.imaging.preprocess import Settings, preprocess_scan
from neurocohort.imaging.scan_results import ScanImages
from neurocohort.imaging.template import make_template, read_template
from neurocohort.report.inputs import file_names
from neurocohort.sources.bids import ingest_bids
from neurocohort.sources.columns import DIFFUSION_COLUMNS, DiffusionFiles
from neurocohort.sources.fingerprints import fingerprint_bids
from neurocohort.sources.gradients import read_gradients
from neurocohort.sources.ixi import ingest_ixi
from neurocohort.sources.sources import ixi_files
from neurocohort.study import cohorts
from neurocohort.synthetic.archives import write_ixi_archives
from neurocohort.synthetic.diffusion import gradient_files, gradient_table

MODALITIES = ("T1w", "FA", "MD")
FILES = ("IXI-T1.tar", "IXI-DTI.tar", "bvals.txt", "bvecs.txt")


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ixi")
    write_ixi_archives(folder, participants=4, seed=5, spacing_mm=3.0, modalities=MODALITIES)
    return folder


@pytest.fixture(scope="module")
def cohort(archives):
    """The folder that ingest leaves."""
    ingest_ixi([archives / name for name in FILES], archives / "IXI.xls", archives / "data", modalities=MODALITIES)
    return archives / "data"


def files_of(cohort, scan) -> DiffusionFiles:
    return DiffusionFiles(*(cohort / scan[column] for column in DIFFUSION_COLUMNS.values()))


def test_single_volumes_become_a_series_with_its_tables(cohort):
    scan = read_table(cohort / "scans.tsv").iloc[0]
    files = files_of(cohort, scan)
    assert scan["dwi_path"].endswith("dwi/" + files.dwi.name)
    assert nib.load(files.dwi).shape[3] == 16 and nib.load(files.dwi).get_data_dtype() == np.int16
    assert files.bval.read_text() == gradient_files()["bvals.txt"]
    assert not list(cohort.glob(".volumes*"))


def test_a_series_that_lacks_a_volume_is_excluded_with_its_number(cohort):
    exclusions = read_table(cohort / "exclusions.tsv")
    (row,) = exclusions[exclusions["reason"].str.startswith("DTI: ")].to_dict("records")
    assert row["reason"] == "DTI: The archive lacks 1 of 16 volumes: 15."
    assert not list(cohort.glob(f"{row['participant_id']}/**/*.*"))


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ("{series}-DTI-03", "DTI: The archive has volume 03 of this participant twice."),
        ("{number}-HH-9999-DTI-16", "DTI: The archive has several series of this participant: "),
    ],
)
def test_volumes_of_two_series_are_never_mixed(archives, cohort, tmp_path, other, reason):
    archive = tmp_path / "IXI-DTI.tar"
    shutil.copy(archives / "IXI-DTI.tar", archive)
    participant = read_table(cohort / "scans.tsv").iloc[0]["participant_id"].removeprefix("sub-")
    with tarfile.open(archive) as tar:
        member = next(one for one in tar.getmembers() if f"{participant}-" in one.name)
        content = tar.extractfile(member).read()
    series = PurePosixPath(member.name).name.partition("-DTI-")[0]
    added = tarfile.TarInfo(other.format(series=series, number=participant) + ".nii.gz")
    added.size = len(content)
    with tarfile.open(archive, "a") as tar:
        tar.addfile(added, io.BytesIO(content))
    files = [archives / "IXI-T1.tar", archive, *(archives / name for name in FILES[2:])]
    ingest_ixi(files, archives / "IXI.xls", tmp_path / "data", modalities=MODALITIES)
    reasons = read_table(tmp_path / "data" / "exclusions.tsv").set_index("participant_id")["reason"]
    assert reasons[f"sub-{participant}"].startswith(reason)


def test_a_second_ingest_leaves_the_same_files(archives, cohort):
    before = {path: path.stat().st_mtime_ns for path in cohort.rglob("dwi/*")}
    ingest_ixi([archives / name for name in FILES], archives / "IXI.xls", cohort, modalities=MODALITIES)
    assert before == {path: path.stat().st_mtime_ns for path in cohort.rglob("dwi/*")}


def test_a_missing_table_is_named(archives, tmp_path):
    with pytest.raises(InputError, match=r"need the file\(s\) bvecs\.txt"):
        names = [archives / name for name in FILES[:3]]
        ingest_ixi(names, archives / "IXI.xls", tmp_path, modalities=MODALITIES)


def test_t1_alone_takes_no_diffusion_files(archives, tmp_path):
    ingest_ixi([archives / "IXI-T1.tar"], archives / "IXI.xls", tmp_path)
    assert not [name for name in read_table(tmp_path / "scans.tsv") if name.startswith("dwi")]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "template.npz"
    make_template(path, 4.0, (44, 52, 44))
    return read_template(path)


@pytest.fixture(scope="module")
def preprocessed(cohort, template):
    scan = read_table(cohort / "scans.tsv").iloc[0]
    return scan, run(cohort, scan, template, files_of(cohort, scan))


def run(cohort, scan, template, files):
    settings = Settings.taken_from(
        {
            "space": "template",
            "intensity": "percentile",
            "seed": 1,
            "brain_extraction": "deepbet",
            "affine": "simpleitk",
            "registration": "affine",
            "learned": {"steps": 0, "learning_rate": 0.001, "seed": 1, "refinement_steps": 0},
            "tissue_maps": False,
            "modulated_gm": False,
            "device": "cpu",
            "skull_stripped": False,
            "mni_space": False,
        }
    )
    return preprocess_scan(ScanImages(cohort / scan["path"], diffusion=files), template, settings)


def test_fitted_fa_and_md_are_those_of_the_painted_tensors(archives, preprocessed):
    scan, result = preprocessed
    assert result.exclusion is None
    truth = json.loads((archives / "truth" / "diffusion.json").read_text())[scan["participant_id"][4:]]
    assert result.metrics["fa_wm"] == pytest.approx(truth["wm"]["fa"], abs=0.06)
    assert result.metrics["md_wm"] == pytest.approx(truth["wm"]["md"], rel=0.08)
    assert result.metrics["md_gm"] == pytest.approx(truth["gm"]["md"], rel=0.25)
    assert result.metrics["fa_gm"] < 0.3 and result.metrics["tensor_implausible"] < 0.1


def test_the_channels_are_maps_of_the_brain_on_the_grid(preprocessed, template):
    _, result = preprocessed
    maps = result.derivatives.preprocessed
    assert [*maps] == ["T1w", "FA", "MD"]
    brain, white = maps["T1w"].data > 0, template.tissues[2] > 0.9
    for name in ("FA", "MD"):
        assert maps[name].data.shape == template.grid.shape and maps[name].data.dtype == np.float32
        assert maps[name].data.max() <= 1
        # The darkest 0.5 % of the brain are 0 in the T1-weighted channel.
        assert np.count_nonzero(maps[name].data[~brain]) < 0.01 * np.count_nonzero(brain)
    grey = template.tissues[1] > 0.9
    assert np.median(maps["FA"].data[white]) > 2 * np.median(maps["FA"].data[grey])
    assert np.median(maps["MD"].data[white]) == pytest.approx(0.25, abs=0.03)  # 0.00075 of 0.003 mm2/s
    assert result.metrics["md_csf"] is None or result.metrics["md_csf"] > 2 * result.metrics["md_wm"]


def test_a_wrong_unit_of_the_b_values_is_an_exclusion_with_a_reason(cohort, template, tmp_path, preprocessed):
    scan, _ = preprocessed
    files = files_of(cohort, scan)
    wrong = tmp_path / "wrong.bval"
    wrong.write_text(files.bval.read_text().replace("1000", "1"))
    result = run(cohort, scan, template, files._replace(bval=wrong))
    assert result.exclusion and result.exclusion.stage == "read" and "check its unit" in result.exclusion.reason
    assert "mask_ml" in result.metrics


@pytest.mark.parametrize("turn", [np.diag([-1.0, 1, 1]), np.eye(3)[[1, 2, 0]]])
def test_flipped_or_exchanged_axes_of_the_directions_change_neither_map(turn):
    from dipy.core.gradients import gradient_table as table_of
    from dipy.reconst.dti import TensorModel

    b, directions = gradient_table()
    rng = np.random.default_rng(3)
    tensor = np.diag([1.5e-3, 0.5e-3, 0.3e-3])
    decay = np.exp(-b * np.einsum("vi,ij,vj->v", directions, tensor, directions))
    signal = 900 * decay * rng.uniform(0.97, 1.03, (50, len(b)))
    fits = [TensorModel(table_of(b, bvecs=d)).fit(signal) for d in (directions, directions @ turn.T)]
    np.testing.assert_allclose(fits[0].fa, fits[1].fa, atol=1e-5)
    np.testing.assert_allclose(fits[0].md, fits[1].md, rtol=1e-5)
    assert np.median(fits[0].md) == pytest.approx(np.trace(tensor) / 3, rel=0.05)


def spoil(kind, b, d):
    """The texts of damaged tables."""
    if kind == "one volume more":
        b = [*b, 1000]
        d = np.vstack([d, d[-1]])
    elif kind == "no b0":
        b = [1000 for _ in b]
        d = np.vstack([d[1], d[1:]])
    elif kind == "lengths":
        d = d * 0.5
    elif kind == "five directions":
        d = np.vstack([d[0], d[1:6], d[1:6], d[1:6]])
    elif kind == "plane":
        angle = np.linspace(0, 3, 15)
        d = np.vstack([d[0], np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)])
    return b, d


@pytest.mark.parametrize(
    "kind, words",
    [
        ("one volume more", "17 b-values, and there are 16 volumes"),
        ("no b0", "no volume without diffusion weighting"),
        ("lengths", "a direction of length 0.5; expected unit vectors"),
        ("five directions", "15 directions with b from 300 to 1600 s/mm2, which determine 5 of a tensor's 6 numbers"),
        ("plane", "determine 3 of"),
    ],
)
def test_tables_from_which_no_tensor_follows_are_refused(tmp_path, kind, words):
    b, d = spoil(kind, *gradient_table())
    write_tables(tmp_path, b, d)
    with pytest.raises(ScanExcluded, match=words):
        read_gradients(tmp_path / "x.bval", tmp_path / "x.bvec", 16, "ingest")


def write_tables(folder, b, d, name="x"):
    (folder / f"{name}.bval").write_text(" ".join(f"{value:g}" for value in b))
    (folder / f"{name}.bvec").write_text(
        "\n".join(" ".join(f"{value:.6f}" for value in row) for row in np.transpose(d))
    )


def test_directions_in_columns_are_read_as_those_in_rows(tmp_path):
    b, d = gradient_table()
    write_tables(tmp_path, b, d)
    rows = read_gradients(tmp_path / "x.bval", tmp_path / "x.bvec", 16, "ingest")
    (tmp_path / "x.bvec").write_text("\n".join(" ".join(f"{value:.6f}" for value in row) for row in d))
    columns = read_gradients(tmp_path / "x.bval", tmp_path / "x.bvec", 16, "ingest")
    np.testing.assert_array_equal(rows.directions, columns.directions)


@pytest.fixture
def bids(cohort, tmp_path):
    """A BIDS folder with three participants of the synthetic cohort; the second has no tables, the third no folder dwi."""
    source = tmp_path / "bids"
    for number, (_, scan) in enumerate(read_table(cohort / "scans.tsv").iloc[:3].iterrows(), start=1):
        anat, dwi = source / f"sub-{number:02d}" / "anat", source / f"sub-{number:02d}" / "dwi"
        anat.mkdir(parents=True)
        shutil.copy(cohort / scan["path"], anat / f"sub-{number:02d}_T1w.nii.gz")
        for kind, path in zip(("nii.gz", "bval", "bvec"), files_of(cohort, scan), strict=True):
            if number == 1 or (number == 2 and kind == "nii.gz"):
                dwi.mkdir(exist_ok=True)
                shutil.copy(path, dwi / f"sub-{number:02d}_dwi.{kind}")
    return source


def test_a_bids_folder_gives_series_and_reasons(bids, tmp_path):
    ingest_bids(bids, tmp_path / "data", modalities=MODALITIES)
    scans, exclusions = (read_table(tmp_path / "data" / f"{name}.tsv") for name in ("scans", "exclusions"))
    assert scans["scan_id"].tolist() == ["sub-01_ses-1"]
    assert all(path.is_file() for path in files_of(tmp_path / "data", scans.iloc[0]))
    reasons = dict(zip(exclusions["participant_id"], exclusions["reason"], strict=True))
    assert "has no .bval and .bvec" in reasons["sub-02"] and "no readable folder dwi" in reasons["sub-03"]


def test_a_changed_table_changes_the_fingerprint_where_it_is_read(bids):
    before = [fingerprint_bids(bids, diffusion=wanted) for wanted in (True, False)]
    table = bids / "sub-01/dwi/sub-01_dwi.bval"
    table.write_text(table.read_text().replace("1000", "900", 1))
    after = [fingerprint_bids(bids, diffusion=wanted) for wanted in (True, False)]
    assert before[0] != after[0] and before[1] == after[1]


@pytest.mark.parametrize("source", ["oasis1", "caps", "table"])
def test_sources_without_diffusion_images_refuse_the_maps(source):
    cohort = {"source": source, "modalities": ["T1w", "FA"]}
    (sentence,) = cohorts._modality_faults("cohorts.mine", cohort)
    assert sentence.startswith("`cohorts.mine.modalities` has FA; a cohort with")


def test_both_maps_of_ixi_need_the_same_three_files():
    assert ixi_files(["T1w", "FA", "MD"]) == ixi_files(["T1w", "MD"]) == ["t1", "dti", "bvals", "bvecs"]
    assert ixi_files(["T1w", "T2w"]) == ["t1", "t2"]
    names = ["IXI-T1.tar", "IXI-DTI.tar", "bvals.txt", "bvecs.txt", "IXI.xls"]
    assert file_names({"source": "ixi", "modalities": ["T1w", "FA"]}) == names
