"""Local cohorts (a BIDS folder and a table of images) in addition to the demo's; and a study with two modalities."""

import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from neurocohort.imaging.derivatives import scan_folder
from neurocohort.sources.ixi import ingest_ixi
from neurocohort.synthetic.archives import write_ixi_archives

pytestmark = pytest.mark.slow

SCANS = 3


def table(checkout, name):
    return pd.read_csv(checkout.path(name), sep="\t")


def write_study(checkout, name, study):
    path = checkout.path(f"config/{name}.yaml")
    path.write_text(yaml.safe_dump(study))
    return str(path)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """A BIDS folder of new synthetic participants, with ages in participants.tsv and a second session in sessions.tsv."""
    made, folder = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("clinic")
    write_ixi_archives(made, participants=10, seed=7, spacing_mm=4.0)
    ingest_ixi([made / "IXI-T1.tar"], made / "IXI.xls", made / "raw")
    scans = pd.read_csv(made / "raw" / "scans.tsv", sep="\t")
    scans = scans[scans["age"].notna()].reset_index(drop=True)
    for number, scan in scans.iterrows():
        anat = folder / f"sub-C{number:02d}" / "ses-a" / "anat"
        anat.mkdir(parents=True)
        shutil.copy(made / "raw" / scan["path"], anat / f"sub-C{number:02d}_ses-a_run-1_T1w.nii.gz")
    people = pd.DataFrame(
        {
            "participant_id": [f"sub-C{number:02d}" for number in range(len(scans))],
            "age": scans["age"],
            "sex": scans["sex"].str.lower(),
            "group": ["CN", "AD"] * (len(scans) // 2),
        }
    )
    people.to_csv(folder / "participants.tsv", sep="\t", index=False)
    return folder


def add_session(clinic, participant, session, source):
    anat = clinic / f"sub-{participant}" / f"ses-{session}" / "anat"
    anat.mkdir(parents=True)
    shutil.copy(source, anat / f"sub-{participant}_ses-{session}_T1w.nii.gz")


@pytest.fixture(scope="module")
def applied(demo, clinic, tmp_path_factory):
    """The demo with both kinds of local cohorts as external ones. The table's scans are skull-stripped and in MNI space."""
    small = tmp_path_factory.mktemp("small")
    for number in range(SCANS):
        shutil.copytree(clinic / f"sub-C{number:02d}", small / "bids" / f"sub-C{number:02d}")
    shutil.copy(clinic / "participants.tsv", small / "bids")
    qc = table(demo, "results/oasis1/qc.tsv").query("status == 'ok'").head(SCANS)
    scans = table(demo, "data/oasis1/scans.tsv").set_index("scan_id")
    rows = []
    for number, scan_id in enumerate(qc["scan_id"]):
        (image,) = scan_folder(demo.path("results/oasis1/preproc"), scan_id).glob(
            f"{scan_id}_*_desc-preproc_T1w.nii.gz"
        )
        shutil.copy(image, small / f"image{number}.nii.gz")
        rows.append({"participant_id": f"P{number}", "path": f"image{number}.nii.gz", "age": scans.at[scan_id, "age"]})
    pd.DataFrame(rows).to_csv(small / "scans.csv", index=False)
    study = {
        "cohorts": {
            "clinic": {"source": "bids", "path": str(small / "bids")},
            "archive": {
                "source": "table",
                "path": str(small / "scans.csv"),
                "skull_stripped": True,
                "mni_space": True,
            },
        },
        "experiments": {"brain_age": {"external": ["clinic", "archive"]}},
    }
    path = write_study(demo, "own_cohorts", study)
    trained = demo.path("results/experiments/brain_age/seed-1/model.safetensors")
    before = trained.stat().st_mtime_ns
    demo.snakemake("--quiet", "rules", "--configfile", "config/config.yaml", path)
    assert trained.stat().st_mtime_ns == before, "an external cohort trains nothing again"
    return demo


def test_trained_models_are_tested_on_a_bids_folder_and_on_a_table(applied):
    predictions = table(applied, "results/experiments/brain_age/predictions.tsv")
    counts = predictions[predictions["part"] == "external"]["cohort"].value_counts()
    assert counts.to_dict() == {"clinic": SCANS, "archive": SCANS}


def test_volumes_of_scans_in_mni_space_are_not_shown_as_native_ones(applied):
    qc = table(applied, "results/archive/qc.tsv")
    volumes = [name for name in qc if name.startswith("volume_") and not name.endswith("_z")]
    assert len(volumes) == 4 and qc[volumes].isna().all(axis=None) and "mask_ml" not in qc
    baselines = table(applied, "results/experiments/brain_age/baselines.tsv")
    cohorts = baselines.groupby("model")["cohort"].agg(set)
    assert "archive" in cohorts["mean"] and "clinic" in cohorts["volumes"] and "archive" not in cohorts["volumes"]


def test_scans_that_are_stripped_and_in_mni_space_keep_their_place_and_content(applied):
    qc = table(applied, "results/archive/qc.tsv")
    assert (qc["status"] == "ok").all() and (qc["registration_starts"] == 0).all()
    folder = scan_folder(applied.path("results/archive/preproc"), qc["scan_id"][0])
    (image,) = folder.glob("*_desc-preproc_T1w.nii.gz")
    found = nib.load(image).get_fdata()
    link = nib.load(applied.path(f"data/archive/{table(applied, 'data/archive/scans.tsv')['path'][0]}"))
    inside = (link.get_fdata() > 0) & (found > 0)
    assert np.count_nonzero(inside) > 0.97 * np.count_nonzero(found)
    assert np.corrcoef(link.get_fdata()[inside], found[inside])[0, 1] > 0.95


def test_scans_that_are_not_stripped_after_all_are_preprocessed_again(applied):
    study = yaml.safe_load(applied.path("config/own_cohorts.yaml").read_text())
    study["cohorts"]["archive"]["skull_stripped"] = False
    path = write_study(applied, "own_cohorts_not_stripped", study)
    assert applied.would_run("--configfile", "config/config.yaml", path)["preprocess_batch"] == 1


def test_the_same_image_under_two_names_stops_the_run_with_both(demo, tmp_path):
    scan = table(demo, "data/ixi/scans.tsv").dropna(subset="age").iloc[0]
    bids = tmp_path / "bids"
    image = nib.load(demo.path(f"data/ixi/{scan['path']}"))
    flipped = nib.as_closest_canonical(image)  # another storage order, header and compression
    for person, copy in (("Z1", flipped), ("Z2", flipped.slicer[:, :, 1:])):
        (bids / f"sub-{person}" / "anat").mkdir(parents=True)
        nib.save(copy, bids / f"sub-{person}" / "anat" / f"sub-{person}_T1w.nii.gz")
    (bids / "participants.tsv").write_text("participant_id\tage\nsub-Z1\t30\nsub-Z2\t31\n")
    study = {
        "cohorts": {"copies": {"source": "bids", "path": str(bids)}},
        "experiments": {"brain_age": {"external": ["copies"]}},
    }
    path = write_study(demo, "copies", study)
    target = "results/experiments/brain_age/samples.tsv"
    said = demo.snakemake(target, "--quiet", "rules", "--configfile", "config/config.yaml", path, check=False)
    assert f"{scan['scan_id']} (ixi: " in said and "sub-Z1_ses-1 (copies: external)" in said and "Z2" not in said


def own_study(clinic, **cohort):
    return {
        "study": "own",
        "cohorts": {"clinic": {"source": "bids", "path": str(clinic)} | cohort},
        "split": {"validation": 0.2, "held_out": 0.3, "folds": 2},
        "experiments": {
            "diagnosis": {
                "task": "classification",
                "target": "group",
                "classes": ["CN", "AD"],
                "cohorts": ["clinic"],
                "network": {"name": "sfcn"},
            }
        },
    }


def test_scans_that_are_added_later_move_nobody(checkout, clinic):
    path = write_study(checkout, "clinic", own_study(clinic))
    target = "results/clinic/split.tsv"
    checkout.snakemake(target, "--quiet", "rules", "--configfile", path)
    before = table(checkout, target).set_index("participant_id")
    assert not checkout.would_run("--configfile", path, "--", target), "nothing is new"
    first = clinic / "sub-C00" / "ses-a" / "anat" / "sub-C00_ses-a_run-1_T1w.nii.gz"
    add_session(clinic, "C00", "b", clinic / "sub-C01" / "ses-a" / "anat" / "sub-C01_ses-a_run-1_T1w.nii.gz")
    for number in range(90, 94):
        add_session(clinic, f"C{number}", "a", first)
    checkout.snakemake(target, "--quiet", "rules", "--configfile", path)
    after = table(checkout, target).set_index("participant_id")
    assert len(after) == len(before) + 4
    pd.testing.assert_frame_equal(after.loc[before.index], before)
    shutil.rmtree(clinic / "sub-C00" / "ses-b")
    for number in range(90, 94):
        shutil.rmtree(clinic / f"sub-C{number}")


def test_a_repeat_session_that_is_split_by_hand_stops_the_run_with_the_name(checkout, clinic):
    rows = [f"sub-C{number:02d}\tses-a\t{part}" for number, part in enumerate(["train"] * 6 + ["validation"] * 2)]
    rows += ["sub-C08\tses-a\theld-out", "sub-C09\tses-a\theld-out", "sub-C00\tses-b\theld-out"]
    by_hand = checkout.path("resources/clinic/by_hand.tsv")  # downloads are in the same folder; this file isn't one
    by_hand.parent.mkdir(parents=True)
    by_hand.write_text("participant_id\tsession_id\tpart\n" + "\n".join(rows) + "\n")
    path = write_study(checkout, "by_hand", own_study(clinic, split_file="resources/clinic/by_hand.tsv"))
    said = checkout.snakemake(
        "results/clinic/split.tsv", "--quiet", "rules", "--configfile", path, "--forcerun", "split", check=False
    )
    shutil.rmtree(checkout.path("resources"))
    assert "sub-C00" in said and "two parts" in said, said


@pytest.fixture(scope="module")
def two_modalities(repository, tmp_path_factory):
    """A complete run of a study on synthetic IXI with T1- and T2-weighted images and tissue maps."""
    from checkouts import copy_checkout

    copied = copy_checkout(repository, tmp_path_factory.mktemp("modalities"))
    study = yaml.safe_load(copied.path("config/config.yaml").read_text())
    study["cohorts"] = {"ixi": study["cohorts"]["ixi"] | {"modalities": ["T1w", "T2w"]}}
    study["synthetic"] = {"ixi": {"participants": 8, "seed": 4, "spacing_mm": 4.0, "modalities": ["T1w", "T2w"]}}
    study["split"] |= {"folds": 0}
    study["preprocessing"] |= {"tissue_maps": True}
    age = study["experiments"]["brain_age"] | {"cohorts": ["ixi"], "modalities": ["T1w", "T2w", "GM"], "filter": ""}
    study["experiments"] = {"brain_age": age | {"training": {"epochs": 2, "batch_size": 2}}}
    path = write_study(copied, "two_modalities", study)
    copied.snakemake("--quiet", "rules", "--configfile", path)
    return copied


def test_two_modalities_reach_the_packed_array_as_two_registered_channels(two_modalities):
    packed = two_modalities.path("results/ixi/packed/development")
    images = np.load(packed / "images.npy")
    channels = table(two_modalities, "results/ixi/packed/development/channels.tsv")["modality"].tolist()
    assert channels == ["T1w", "T2w", "CSF", "GM", "WM"] and images.shape[1:] == (5, 56, 64, 56)
    for t1, t2 in images[:, :2].astype(float):
        inside = (t1 > 0) & (t2 > 0)
        # Grey matter is brighter than white matter in T2 and darker in T1, so aligned images correlate negatively.
        bright_t1, dark_t1 = t1 > np.percentile(t1[inside], 75), t1 < np.percentile(t1[inside], 25)
        assert t2[inside & bright_t1].mean() < 0.7 * t2[inside & dark_t1].mean()


def test_tissue_maps_reach_the_packed_array_and_the_description_of_the_dataset(two_modalities):
    images = np.load(two_modalities.path("results/ixi/packed/development/images.npy"))
    for t1, maps in zip(images[:, 0], images[:, 2:].astype(float), strict=True):
        assert np.percentile(maps.sum(axis=0)[t1 > 0], 20) > 200 and (maps[:, t1 == 0].sum(axis=0) < 256).all()
        assert maps[2][t1 > 0].mean() > 20 and np.corrcoef(maps[2][t1 > 0], t1[t1 > 0])[0, 1] > 0.5
    assert (
        "the same probabilities on the study's grid" in two_modalities.path("results/ixi/preproc/README.md").read_text()
    )


def test_a_network_of_images_and_a_tissue_map_is_trained_and_tested(two_modalities):
    predictions = table(two_modalities, "results/experiments/brain_age/predictions.tsv")
    assert predictions["prediction"].notna().all()


def test_a_session_without_the_second_modality_is_excluded_with_the_reason(two_modalities):
    exclusions = table(two_modalities, "results/ixi/exclusions.tsv")
    assert exclusions["reason"].str.contains("T2: ").sum() == 1
