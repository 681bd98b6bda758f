"""The official validator accepts the raw and preprocessed cohorts of the demo as BIDS datasets."""

import pandas as pd
import pytest
from bids_validator import errors_of
from neurocohort.files import read_json
from neurocohort.imaging.derivatives import qc_path, scan_folder

COHORTS = ("ixi", "oasis1")


@pytest.mark.parametrize("cohort", COHORTS)
def test_the_official_validator_accepts_the_preprocessed_scans(demo, tmp_path, cohort):
    assert errors_of(demo.path(f"results/{cohort}/preproc"), tmp_path) == []


@pytest.mark.parametrize("cohort", COHORTS)
def test_the_official_validator_accepts_the_raw_scans(demo, tmp_path, cohort):
    assert errors_of(demo.path(f"data/{cohort}"), tmp_path) == []


@pytest.mark.parametrize("cohort", COHORTS)
def test_every_source_of_every_preprocessed_image_is_a_file(demo, cohort):
    preproc = demo.path(f"results/{cohort}/preproc")
    links = read_json(preproc / "dataset_description.json")["DatasetLinks"]
    sidecars = [path for path in preproc.glob("sub-*/**/*.json") if not path.name.endswith("_qc.json")]
    uris = {uri for path in sidecars for uri in read_json(path)["Sources"]}
    for uri in uris:
        _, dataset, path = uri.split(":")
        assert (preproc / links.get(dataset, "") / path).is_file(), uri
    scans = pd.read_csv(demo.path(f"data/{cohort}/scans.tsv"), sep="\t")
    assert len({uri for uri in uris if uri.endswith("_T1w.nii.gz") and "derivatives" not in uri}) == len(scans)


def test_usable_scans_have_image_mask_and_tissue_maps_and_oasis_has_its_labels(demo):
    for cohort in COHORTS:
        qc = pd.read_csv(demo.path(f"results/{cohort}/qc.tsv"), sep="\t")
        for scan in qc[qc["status"] == "ok"].itertuples():
            preproc = demo.path(f"results/{cohort}/preproc")
            outputs = read_json(qc_path(preproc, scan.scan_id))["outputs"]
            names = {"preproc_T1w", "brain_mask", "probseg_CSF", "probseg_GM", "probseg_WM"}
            assert names <= set(outputs) and ("dseg" in outputs) == (scan.has_labels == "yes")
            assert all((scan_folder(preproc, scan.scan_id) / entry["file"]).is_file() for entry in outputs.values())
        assert demo.path(f"results/{cohort}/preproc/dseg.tsv").exists() == (cohort == "oasis1")
