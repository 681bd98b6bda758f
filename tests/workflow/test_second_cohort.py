"""The second cohort: it is applied without any training, an old cohort grows without any, and only a key trains again."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from checkouts import Checkout, copy_checkout
from neurocohort.files import read_json
from neurocohort.sources.ixi import ingest_ixi
from neurocohort.synthetic.archives import write_ixi_archives

pytestmark = pytest.mark.slow

STUDY, OWN, CLINIC, ADDED = "config/second.yaml", 14, 3, 3
EXPERIMENT = "results/experiments/age"
TRAINING = {"train", "select_training", "choose", "adopt"}


def table(checkout: Checkout, name: str) -> pd.DataFrame:
    return pd.read_csv(checkout.path(name), sep="\t")


def add(folder: Path, people: list[tuple[Path, float | None]], first: int) -> None:
    """Add people, an image and an age each, to a BIDS folder; without ages there is no participants.tsv."""
    rows = []
    for number, (image, age) in enumerate(people, start=first):
        anat = folder / f"sub-P{number:02d}" / "anat"
        anat.mkdir(parents=True)
        shutil.copy(image, anat / f"sub-P{number:02d}_T1w.nii.gz")
        rows.append({"participant_id": f"sub-P{number:02d}", "age": age})
    path = folder / "participants.tsv"
    if rows[0]["age"] is not None:
        old = [pd.read_csv(path, sep="\t")] if path.is_file() else []
        pd.concat([*old, pd.DataFrame(rows)]).to_csv(path, sep="\t", index=False)


def configure(checkout: Checkout, **changes) -> None:
    study = yaml.safe_load(checkout.path(STUDY).read_text()) | changes
    checkout.path(STUDY).write_text(yaml.safe_dump(study))


def would_run(checkout: Checkout) -> dict[str, int]:
    return checkout.would_run("--configfile", STUDY, "--", "everything")


def run(checkout: Checkout, *targets: str) -> None:
    checkout.snakemake("--quiet", "rules", "--configfile", STUDY, "--", *(targets or ("everything",)))


def weights(checkout: Checkout) -> dict[str, tuple[int, bytes]]:
    paths = sorted(checkout.path(EXPERIMENT).glob("*/model.safetensors"))
    return {path.parent.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> list[tuple[Path, float]]:
    """Images and ages of synthetic participants."""
    made = tmp_path_factory.mktemp("people")
    write_ixi_archives(made, participants=OWN + CLINIC + ADDED + 8, seed=11, spacing_mm=5.0)
    ingest_ixi([made / "IXI-T1.tar"], made / "IXI.xls", made / "raw")
    scans = pd.read_csv(made / "raw" / "scans.tsv", sep="\t").dropna(subset="age")
    return [(made / "raw" / path, age) for path, age in zip(scans["path"], scans["age"], strict=True)]


@pytest.fixture(scope="module")
def folders(people, tmp_path_factory) -> dict[str, Path]:
    """A BIDS folder with ages, and one without any table."""
    made = {name: tmp_path_factory.mktemp(name) for name in ("own", "clinic")}
    add(made["own"], people[:OWN], 0)
    add(made["clinic"], [(image, None) for image, _ in people[OWN : OWN + CLINIC]], 50)
    return made


@pytest.fixture(scope="module")
def trained(repository, folders, tmp_path_factory) -> Checkout:
    """A finished study of one cohort."""
    checkout = copy_checkout(repository, tmp_path_factory.mktemp("second"))
    age = {"task": "regression", "target": "age", "cohorts": ["own"]}
    age["network"] = {"name": "sfcn", "channels": [2, 2, 2, 2], "soft_bins": False}
    age["training"] = {"epochs": 1, "batch_size": 4, "seeds": [1, 2]}
    study = {
        "study": "second",
        "device": "cpu",
        "preprocessing": {"spacing_mm": 6.0, "shape": [32, 40, 32]},
        "quality": {"min_template_dice": 0, "min_mutual_information": 0},
        "split": {"validation": 0.3, "held_out": 0.3, "folds": 0},
        "cohorts": {"own": {"source": "bids", "path": str(folders["own"])}},
        "experiments": {"age": age},
        "evaluation": {"resamples": 100},
        "saliency": {"scans": 1},
    }
    checkout.path(STUDY).write_text(yaml.safe_dump(study))
    run(checkout)
    assert would_run(checkout) == {}
    return checkout


@pytest.fixture(scope="module")
def applied(trained, folders) -> Checkout:
    """The same study with an external cohort that has no labels."""
    before = weights(trained)
    study = yaml.safe_load(trained.path(STUDY).read_text())
    clinic = {"source": "bids", "path": str(folders["clinic"])}
    experiments = {"age": study["experiments"]["age"] | {"external": ["clinic"]}}
    configure(trained, cohorts=study["cohorts"] | {"clinic": clinic}, experiments=experiments)
    jobs = would_run(trained)
    assert jobs["ingest_cohort"] == 1 and {"quality", "select", "predict", "metrics", "report"} <= set(jobs)
    assert not TRAINING & set(jobs), "an external cohort trains nothing again"
    run(trained)
    assert weights(trained) == before and would_run(trained) == {}
    return trained


def test_an_external_cohort_without_labels_gets_predictions_and_no_metrics(applied):
    found = table(applied, f"{EXPERIMENT}/applied.tsv")
    assert len(found) == CLINIC and set(found["cohort"]) == {"clinic"} and found["prediction"].notna().all()
    assert found["target"].isna().all() and set(found["reason"]) == {"no value of age"}
    assert "clinic" not in set(table(applied, f"{EXPERIMENT}/metrics.tsv")["cohort"])
    page = applied.path("results/report/index.html").read_text()
    assert "no value of age" in page and "Missing:" not in page


@pytest.fixture(scope="module")
def grown(applied, folders, people) -> Checkout:
    """The study after scans were added to the cohort that it trains on."""
    before, split = weights(applied), table(applied, "results/own/split.tsv").set_index("participant_id")
    add(folders["own"], people[OWN + CLINIC : OWN + CLINIC + ADDED], OWN)
    run(applied, "preprocess")
    records = [path.stat().st_mtime for path in applied.path("results/own/preproc").rglob("*_qc.json")]
    assert sum(moment > max(records) - 60 for moment in records) >= ADDED
    jobs = would_run(applied)
    assert "train" not in jobs and {"split", "select", "predict", "report"} <= set(jobs)
    run(applied)
    assert weights(applied) == before and would_run(applied) == {}
    after = table(applied, "results/own/split.tsv").set_index("participant_id")
    pd.testing.assert_frame_equal(after.loc[split.index], split)
    return applied


def test_networks_stay_when_a_cohort_grows_and_new_scans_are_predicted_as_not_seen(grown):
    split = table(grown, "results/own/split.tsv").set_index("participant_id")["part"]
    new = {f"sub-P{number:02d}": split[f"sub-P{number:02d}"] for number in range(OWN, OWN + ADDED)}
    found = table(grown, f"{EXPERIMENT}/applied.tsv").query("cohort == 'own'")
    assert set(found["participant_id"]) == {name for name, part in new.items() if part != "held-out"}
    assert found["prediction"].notna().all() and set(found["reason"]) == {"added after the training"}
    tested = table(grown, f"{EXPERIMENT}/predictions.tsv").query("part == 'held-out'")["participant_id"]
    assert {name for name, part in new.items() if part == "held-out"} <= set(tested)
    samples = table(grown, f"{EXPERIMENT}/samples.tsv")
    known = read_json(grown.path(f"{EXPERIMENT}/seed-1/trained.json"))
    development = samples[samples["part"].isin(["train", "validation"])]
    assert set("own/" + development["scan_id"]) == set(known["samples"])
    assert "added after the training" in grown.path("results/report/index.html").read_text()


def test_a_network_that_is_missing_is_trained_on_what_the_others_know(grown):
    before = weights(grown)
    grown.path(f"{EXPERIMENT}/seed-2/model.safetensors").unlink()
    run(grown, f"{EXPERIMENT}/seed-2/model.safetensors")
    assert {name: content for name, (_, content) in weights(grown).items()} == {
        name: content for name, (_, content) in before.items()
    }


def test_retrain_trains_again_with_all_scans(grown):
    configure(grown, new_scans="retrain")
    assert would_run(grown)["train"] == 2
    configure(grown, new_scans="keep_networks")
    assert "train" not in would_run(grown)


def test_a_corrected_label_of_a_known_scan_trains_again(grown, folders):
    path = folders["own"] / "participants.tsv"
    text = path.read_text()
    people = pd.read_csv(path, sep="\t")
    people.loc[0, "age"] += 5
    people.to_csv(path, sep="\t", index=False)
    run(grown, "data/own/scans.tsv")
    assert would_run(grown)["train"] == 2
    path.write_text(text)


def test_without_networks_a_grown_cohort_is_trained_on_as_a_whole(grown):
    run(grown, "data/own/scans.tsv")
    for path in grown.path(EXPERIMENT).glob("seed-*"):
        shutil.rmtree(path)
    run(grown, f"{EXPERIMENT}/seed-1/model.safetensors")
    split = table(grown, "results/own/split.tsv")
    development = set(split.loc[split["part"] != "held-out", "participant_id"])
    assert development == set(table(grown, f"{EXPERIMENT}/training/samples.tsv")["participant_id"])
