"""The methods text: that it says what ran and nothing else, and that its references are those that it cites."""

import copy
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from neurocohort import architectures
from neurocohort.files import write_json, write_table
from neurocohort.learning import session_networks
from neurocohort.report import references
from neurocohort.report.formats import COMPARISON_COLUMNS, METRIC_COLUMNS
from neurocohort.report.methods import TEMPLATES, methods
from neurocohort.report.study import Folders, read_study
from neurocohort.study.configuration import read_checked
from neurocohort.study.members import training_settings
from report_fixture import make_study

ROOT = Path(__file__).parents[2]
RUNS = {
    "brain_age": {"kind": "regression", "soft_bins": False, "low": 20.0, "high": 80.0, "mean": 51.2, "scale": 17.9},
    "dementia": {"kind": "classification", "classes": 2, "positive_weight": 1.5, "class_weights": []},
    "tissue": {"kind": "segmentation"},
}


@pytest.fixture(scope="module")
def demo():
    """The demo's configuration, checked and with its defaults."""
    return read_checked([ROOT / "config" / "config.yaml"])


@pytest.fixture(scope="module")
def original(tmp_path_factory, demo):
    """A small study's folders, with records of training as the demo's configuration would leave them."""
    root = tmp_path_factory.mktemp("study")
    make_study(root)
    for name, experiment in demo["experiments"].items():
        write_run(root, name, experiment, "seed-1")
    return root


@pytest.fixture
def study(original, tmp_path):
    """A copy of it without the scans' own folders, for a test to change."""
    return Path(shutil.copytree(original, tmp_path / "study", ignore=shutil.ignore_patterns("preproc")))


def write_run(root: Path, name: str, experiment: dict, member: str) -> None:
    settings = training_settings({"permutation": 0, **experiment}, member).as_dict()
    run = {"settings": settings, "task": RUNS[name], "parameters": 4321, "epochs_run": 12, "best_epoch": 7}
    run |= {"seed": settings["seed"], "device": "cpu", "precision": "float32", "torch": "2.0"}
    write_json(root / "results" / "experiments" / name / member / "run.json", run)


def text_of(root: Path, configuration: dict) -> dict[str, str]:
    """The paragraphs by name."""
    return {one.name: one.text for one in methods(study_of(root, configuration)).paragraphs}


def study_of(root: Path, configuration: dict):
    folders = Folders(root / "results", root / "data", root / "benchmarks", root / "envs" / "requirements.txt")
    return read_study(folders, configuration)


def test_numbers_are_those_of_the_tables(study, demo):
    text = text_of(study, demo)
    scans = pd.read_csv(study / "data" / "ixi" / "scans.tsv", sep="\t")
    women = int((scans["sex"] == "F").sum())
    assert f"IXI had {len(scans)} scans of {len(scans)} participants from 3 sites" in text["data"]
    assert f"aged {scans['age'].min():.0f} to {scans['age'].max():.0f} years" in text["data"]
    assert f"{women} of them women" in text["data"]
    assert "Of IXI, 2 records were excluded at ingest and 2 scans in preprocessing" in text["data"]
    parts = pd.read_csv(study / "results" / "ixi" / "split.tsv", sep="\t")["part"].value_counts()
    counts = [f"{parts[part]} {part.replace('train', 'training')}" for part in ("train", "validation", "held-out")]
    assert f"IXI was divided into {counts[0]}, {counts[1]} and {counts[2]} participants." in text["split"]
    assert "4,321 parameters" in text["training"] and "epoch 7 was kept" in text["training"]
    assert "for 12 epochs" in text["training"]


def test_settings_are_those_of_the_configuration(study, demo):
    changed = copy.deepcopy(demo)
    changed["preprocessing"] |= {
        "spacing_mm": 1.5,
        "shape": [100, 120, 110],
        "intensity": "zscore",
        "brain_extraction": "synthstrip",
    }
    changed["quality"] |= {"min_template_dice": 0.8, "max_outlier_z": 6.0}
    changed["evaluation"]["resamples"] = 1234
    text = text_of(study, changed)
    assert "100 × 120 × 110 voxels of 1.5 mm" in text["preprocessing"]
    assert "4 standard deviations" in text["preprocessing"] and "percentile" not in text["preprocessing"]
    assert "SynthStrip [@hoopes2022]" in text["preprocessing"] and "deepbet" not in text["preprocessing"]
    assert "less than 0.8" in text["preprocessing"] and "6 or more robust standard deviations" in text["preprocessing"]
    assert "1,234 resamples" in text["evaluation"]


OPTIONS = {
    "deformable": ("preprocessing", "greedy"),
    "patience": ("training", "without a better epoch"),
    "cross_validation": ("split", "cross-validation"),
    "patch": ("training", "patches of"),
    "cosine": ("training", "half a cosine down"),
    "transfer": ("training", "started from the weights"),
    "seeds": ("training", "were averaged"),
    "modalities": ("preprocessing", "registered rigidly"),
    "mni_space": ("preprocessing", "in MNI152 space according to the study's configuration"),
}


def with_option(option: str, configuration: dict, root: Path) -> dict:
    changed = copy.deepcopy(configuration)
    experiment = changed["experiments"]["tissue" if option == "patch" else "brain_age"]
    training = experiment["training"]
    if option == "deformable":
        changed["preprocessing"]["registration"] = "deformable"
    elif option == "transfer":
        experiment["transfer"] = {"weights": "dementia", "frozen_epochs": 3, "thaw_epochs": 0}
    elif option == "modalities":
        changed["cohorts"]["ixi"]["modalities"] = ["T1w", "T2w"]
    elif option == "mni_space":
        changed["cohorts"]["ixi"] = {"source": "bids", "path": "elsewhere", "mni_space": True, "modalities": ["T1w"]}
    else:
        training |= {
            "patience": {"patience": 9},
            "cross_validation": {"cross_validation": True},
            "patch": {"patch": [32, 32, 32]},
            "cosine": {"schedule": "cosine"},
            "seeds": {"seeds": [1, 2]},
        }[option]
    (root / "results" / "experiments" / "brain_age" / "networks.tsv").unlink(missing_ok=True)  # it is of one network
    members = {"seeds": ["seed-1", "seed-2"], "cross_validation": [f"fold-{fold}_seed-1" for fold in range(1, 6)]}
    for member in members.get(option, ["seed-1"]):
        write_run(root, "tissue" if option == "patch" else "brain_age", experiment, member)
    return changed


@pytest.mark.parametrize("option", OPTIONS)
def test_sentence_of_an_option_is_there_only_where_it_was_on(study, demo, option):
    paragraph, words = OPTIONS[option]
    assert words not in text_of(study, demo)[paragraph]
    found = methods(study_of(study, with_option(option, demo, study)))
    assert words in {one.name: one.text for one in found.paragraphs}[paragraph]
    assert found.missing == ()


def test_synthetic_scans_are_called_so_and_published_ones_cited(study, demo):
    text = text_of(study, demo)["data"]
    assert "The scans of IXI were synthetic" in text and "[@ixi]" not in text and "FAST" not in text
    real = copy.deepcopy(demo)
    for cohort in real["cohorts"].values():
        cohort["base_url"] = ""
    text = text_of(study, real)["data"]
    assert "[@ixi]" in text and "[@marcus2007]" in text and "[@zhang2001]" in text and "synthetic" not in text


def test_tables_of_the_evaluation_bring_their_sentences(study, demo):
    for path in [*study.rglob("comparisons.tsv"), *study.rglob("details.tsv")]:
        path.unlink()
    assert "paired bootstrap" not in text_of(study, demo)["evaluation"]
    folder = study / "results" / "experiments" / "dementia"
    write_table(folder / "comparisons.tsv", pd.DataFrame([dict.fromkeys(COMPARISON_COLUMNS, "x")]))
    details = dict.fromkeys(METRIC_COLUMNS, "") | {
        "model": "network",
        "group": "all",
        "metric": "sensitivity",
        "setting": "at threshold",
        "note": "Threshold 0.4, chosen on the 9 validation scans by Youden's index, 0.50 there.",
    }
    write_table(folder / "details.tsv", pd.DataFrame([details]))
    text = text_of(study, demo)["evaluation"]
    assert "For dementia, the difference between the network and each baseline" in text
    assert "Youden's index [@youden1950]" in text and "threshold 0.4, chosen on the 9 validation scans" in text
    assert "calibration" not in text


def test_baselines_are_those_that_were_fitted(study, demo):
    text = text_of(study, demo)["baselines"]
    dementia = text[text.index("The network of dementia") :].split("The network of tissue")[0]
    assert "logistic regression with classes of equal weight on age and sex" in dementia
    assert (
        "Not fitted, for the reasons in the log of the baselines: tissue volumes, ridge regression on voxels"
        in dementia
    )


def in_mni_space(demo: dict, *cohorts: str) -> dict:
    changed = copy.deepcopy(demo)
    for name in cohorts:
        changed["cohorts"][name] = {"source": "bids", "path": "elsewhere", "mni_space": True, "modalities": ["T1w"]}
    return changed


def test_volumes_and_limits_in_ml_are_stated_of_native_scans_alone(study, demo):
    native, mixed, all_in_space = (
        text_of(study, in_mni_space(demo, *cohorts))["preprocessing"] for cohorts in ((), ("ixi",), ("ixi", "oasis1"))
    )
    native_only = ("Volumes of cerebrospinal fluid", "2,200 ml", "mutual information between its brain")
    assert all(words in native for words in native_only)
    for words in ("native scans", "have no volumes", "outside the template's brain", "would still have moved"):
        assert words not in native and words in mixed, words
    assert "2,200 ml (native scans only)" in mixed and "The scans of IXI have no volumes" in mixed
    for words in native_only:
        assert words not in all_in_space, words
    assert "were distinguished, for the quality numbers" in all_in_space and "Dice overlap" in all_in_space


def test_a_baseline_of_volumes_that_scans_in_mni_space_rule_out_has_its_reason(study, demo):
    path = study / "results" / "experiments" / "brain_age" / "baselines.tsv"
    baselines = pd.read_csv(path, sep="\t", dtype={"scan_id": str, "participant_id": str})
    assert {"ixi"} < {
        *demo["experiments"]["brain_age"]["cohorts"],
        *demo["experiments"]["brain_age"].get("external", []),
    }
    if "volumes" not in set(baselines["model"]):
        baselines = pd.concat([baselines, baselines[baselines["model"] == "mean"].assign(model="volumes")])
        write_table(path, baselines)

    def methods(*cohorts: str) -> str:
        text = text_of(study, in_mni_space(demo, *cohorts))["baselines"]
        return text[text.index("The network of brain age") :].split("The network of dementia")[0]

    assert "MNI space" not in methods()
    assert "neither fitted on nor applied to IXI" in methods("ixi")
    write_table(path, baselines[baselines["model"] != "volumes"])
    everywhere = methods("ixi", "oasis1")
    assert "There is no baseline of tissue volumes for brain age" in everywhere
    assert "to fit: tissue volumes" not in everywhere, "the reason is not the number of participants"
    assert "no baseline of tissue volumes" not in methods() and "tissue volumes" in methods()


def test_missing_record_goes_into_the_ledger_and_its_sentences_are_left_out(study, demo):
    (study / "results" / "experiments" / "tissue" / "seed-1" / "run.json").unlink()
    (study / "data" / "ixi" / "scans.tsv").unlink()
    read = study_of(study, demo)
    found = methods(read)
    assert {item.file for item in found.missing} == {"results/experiments/tissue/seed-1/run.json", "data/ixi/scans.tsv"}
    assert set(found.missing) <= set(read.sources.missing)
    text = {one.name: one.text for one in found.paragraphs}
    assert "U-Net" not in text["training"] and "IXI had" not in text["data"]


def test_empty_tree_gives_no_false_count(tmp_path, demo):
    found = methods(study_of(tmp_path, demo))
    text = " ".join(one.text for one in found.paragraphs)
    assert found.missing and not re.search(r"\d+ scans", text) and "nan" not in text


def test_bibliography_holds_exactly_what_is_cited(study, demo):
    (study / "envs" / "requirements.txt").write_text("snakemake==9.0\n")
    found = methods(study_of(study, demo))
    keys = set(re.findall(r"@([\w-]+)", found.markdown))
    assert keys == {one.key for one in found.references} and "molder2021" in keys
    entries = re.findall(r"^@\w+\{([\w-]+),", references.bibliography(list(found.references)), re.MULTILINE)
    assert entries == sorted(keys)
    first = re.search(r"@([\w-]+)", found.markdown.split("# Methods")[1])
    assert found.references[0].key == first[1] and "[1]" in found.plain and "[@" not in found.plain


def test_every_reference_of_the_library_is_cited_by_some_sentence():
    sentences = [*TEMPLATES.glob("*.j2"), *Path(references.__file__).parent.glob("methods*.py")]
    sentences += Path(architectures.__file__).parent.glob("*.py")
    sentences += Path(session_networks.__file__).parent.glob("*.py")
    code = "".join(path.read_text(encoding="utf-8") for path in sentences)
    assert {key for key in references.library() if f"@{key}" not in code} == set()
    assert set(re.findall(r"\[@([\w-]+)\]", code)) - {"key"} <= set(references.library())


def test_reference_reads_as_in_a_journal():
    text = references.library()["marcus2007"].text
    assert text.startswith("Marcus DS, Wang TH, Parker J, Csernansky JG, Morris JC, Buckner RL. Open Access Series")
    assert text.endswith("Journal of Cognitive Neuroscience 19, 1498–1507 (2007). doi:10.1162/jocn.2007.19.9.1498")
