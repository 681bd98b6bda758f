"""Ten kinds of bad scans in a cohort of twenty: each becomes a row with stage and reason, and the other ten are used."""

import gzip
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from neurocohort.sources.ixi import ingest_ixi
from neurocohort.synthetic.archives import write_ixi_archives

pytestmark = pytest.mark.slow

GOOD = 10


def constant(image):
    return nib.Nifti1Image(np.full(image.shape, 7, np.int16), image.affine)


def not_finite(image):
    data = image.get_fdata(dtype=np.float32)
    data[10:12] = np.nan
    return nib.Nifti1Image(data, image.affine)


def time_series(image):
    return nib.Nifti1Image(np.stack([np.asarray(image.dataobj)] * 3, axis=-1), image.affine)


def singular(image):
    broken = nib.Nifti1Image(np.asarray(image.dataobj), None)
    broken.set_sform(np.diag([4.0, 4.0, 0.0, 1.0]), code=1)
    return broken


def in_metres(image):
    affine = image.affine.copy()
    affine[:3] /= 1000
    return nib.Nifti1Image(np.asarray(image.dataobj), affine)


def half_a_head(image):
    canonical = nib.as_closest_canonical(image)
    return canonical.slicer[:, :, : canonical.shape[2] // 2]


def no_head(image):
    shape = np.array(image.shape)
    distance = np.linalg.norm((np.moveaxis(np.indices(image.shape), 0, -1) - shape / 2) / shape, axis=-1)
    noise = np.random.default_rng(0).integers(0, 20, image.shape)
    return nib.Nifti1Image((np.where(distance < 0.3, 100, 0) + noise).astype(np.int16), image.affine)


CHANGED = {
    "constant": constant,
    "not_finite": not_finite,
    "time_series": time_series,
    "singular_affine": singular,
    "in_metres": in_metres,
    "half_a_head": half_a_head,
    "no_head": no_head,
}
EXPECTED = {  # kind: stage, and a word from the reason
    "constant": ("read", "empty or constant"),
    "not_finite": ("read", "not finite"),
    "time_series": ("ingest", "three-dimensional"),
    "singular_affine": ("read", "affine"),
    "in_metres": ("read", "spacing"),
    "half_a_head": ("brain_extraction|registration", "mL|cuts|Dice"),
    "no_head": ("brain_extraction|registration|contrast", "mL|no brain|Dice|cuts|information|T1-weighted"),
    "truncated": ("ingest", "gzip|cut short"),
    "not_an_image": ("ingest", "gzip|NIfTI"),
    "absent": ("ingest", "not there|no such file|does not exist|No such file"),
}


@pytest.fixture(scope="module")
def cohort(demo, tmp_path_factory):
    """The demo with a table of ten good and ten bad scans as an external cohort."""
    folder = tmp_path_factory.mktemp("bad")
    write_ixi_archives(folder / "made", participants=GOOD, seed=11, spacing_mm=4.0)
    ingest_ixi([folder / "made/IXI-T1.tar"], folder / "made/IXI.xls", folder / "raw")
    scans = pd.read_csv(folder / "raw/scans.tsv", sep="\t").dropna(subset="age")
    sources = [folder / "raw" / path for path in scans["path"]]
    rows = [{"participant_id": f"G{number}", "path": path} for number, path in enumerate(sources)]
    for number, (kind, change) in enumerate(CHANGED.items()):
        nib.save(change(nib.load(sources[number])), folder / f"{kind}.nii.gz")
    (folder / "truncated.nii.gz").write_bytes(sources[0].read_bytes()[:20_000])
    (folder / "not_an_image.nii.gz").write_bytes(gzip.compress(b"a letter to the editor" * 50))
    rows += [{"participant_id": kind.replace("_", ""), "path": f"{kind}.nii.gz"} for kind in EXPECTED]
    pd.DataFrame(rows).assign(age=50).to_csv(folder / "scans.csv", index=False)
    study = {
        "cohorts": {"bad": {"source": "table", "path": str(folder / "scans.csv")}},
        "experiments": {"brain_age": {"external": ["bad"]}},
    }
    path = demo.path("config/bad.yaml")
    path.write_text(yaml.safe_dump(study))
    demo.snakemake("--quiet", "rules", "--configfile", "config/config.yaml", str(path))
    return demo


def test_each_bad_scan_is_a_row_with_stage_and_reason(cohort):
    rows = pd.read_csv(cohort.path("results/bad/exclusions.tsv"), sep="\t").set_index("participant_id")
    assert len(rows) == len(EXPECTED) == 10
    for kind, (stage, reason) in EXPECTED.items():
        row = rows.loc[f"sub-{kind.replace('_', '')}"]
        assert re.fullmatch(stage, row["stage"]) and re.search(reason, row["reason"]), f"{kind}: {dict(row)}"


def test_the_ten_good_scans_go_on(cohort):
    packs = [cohort.path(f"results/bad/packed/{pack}/index.tsv") for pack in ("development", "held-out")]
    packed = [scan for pack in packs for scan in pd.read_csv(pack, sep="\t")["scan_id"]]
    assert sorted(packed) == [f"sub-G{number}_ses-1" for number in range(GOOD)]


def test_the_report_says_ten_of_twenty(cohort):
    text = " ".join(re.sub(r"<[^>]+>", " ", cohort.path("results/report/index.html").read_text()).split())
    assert "Found in the source 20 participants · 20 scans" in text
    assert "within the quality limits 10 participants · 10 scans" in text
