"""Seven real IXI scans and the real spreadsheet from a server, only by configuration; the demo's model is applied to them."""

import shutil
import tarfile

import pandas as pd
import pytest
import yaml
from servers import FileServer

pytestmark = pytest.mark.slow

SITES = {
    "IXI012": "HH",
    "IXI132": "HH",
    "IXI255": "HH",
    "IXI383": "HH",
    "IXI443": "HH",
    "IXI527": "HH",
    "IXI533": "Guys",
}


@pytest.fixture(scope="module")
def real(demo, shared_data, tmp_path_factory):
    """The demo with the real scans as an additional external cohort."""
    served = tmp_path_factory.mktemp("served")
    shutil.copy(shared_data / "IXI.xls", served)
    with tarfile.open(served / "IXI-T1.tar", "w") as archive:
        archive.add(shared_data / "IXI533-Guys-1066-T1.nii.gz", "IXI533-Guys-1066-T1.nii.gz")
        for scan in sorted((shared_data / "ixi_hh_2mm").glob("*_T1_2mm.nii.gz")):
            archive.add(scan, scan.name.replace("_T1_2mm", "-T1"))
    with FileServer(served) as server:
        study = {
            "cohorts": {"ixi_real": {"source": "ixi", "base_url": server.url("").rstrip("/")}},
            "experiments": {"brain_age": {"external": ["ixi_real"]}},
        }
        path = demo.path("config/with_real_scans.yaml")
        path.write_text(yaml.safe_dump(study))
        trained = demo.path("results/experiments/brain_age/seed-1/model.safetensors")
        before = trained.stat().st_mtime_ns
        copied = type(demo)(demo.folder)
        copied.snakemake("--quiet", "rules", "--configfile", "config/config.yaml", str(path))
        assert trained.stat().st_mtime_ns == before, "an external cohort trains nothing again"
    return demo


def table(checkout, name):
    return pd.read_csv(checkout.path(name), sep="\t")


def test_ages_and_sites_come_from_the_real_sheet(real, shared_data):
    scans = table(real, "data/ixi_real/scans.tsv")
    scans["person"] = scans["participant_id"].str.removeprefix("sub-")
    assert dict(zip(scans["person"], scans["site"], strict=True)) == SITES
    sheet = pd.read_excel(shared_data / "IXI.xls").drop_duplicates("IXI_ID").set_index("IXI_ID")
    for scan in scans.itertuples():
        assert scan.age == pytest.approx(sheet.loc[int(scan.person[3:]), "AGE"], abs=1e-6)


def test_all_seven_real_heads_are_preprocessed(real):
    qc = table(real, "results/ixi_real/qc.tsv")
    assert (qc["status"] == "ok").all() and len(qc) == 7
    assert qc["template_dice"].min() >= 0.92


def test_brain_age_of_all_seven_is_predicted_as_an_external_cohort(real):
    predictions = table(real, "results/experiments/brain_age/predictions.tsv")
    predictions = predictions[predictions["cohort"] == "ixi_real"]
    assert len(predictions) == 7 and (predictions["part"] == "external").all()
    assert predictions["prediction"].notna().all()
    print(predictions[["scan_id", "site", "target", "prediction"]].to_string(index=False))
    metrics = table(real, "results/experiments/brain_age/metrics.tsv")
    assert ((metrics["cohort"] == "ixi_real") & (metrics["metric"] == "mae")).any()


def test_report_shows_the_real_cohort(real):
    text = real.path("results/report/index.html").read_text()
    for scan in table(real, "results/ixi_real/qc.tsv")["scan_id"]:
        assert scan in text
