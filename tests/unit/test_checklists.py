"""The checklists and the model card: that nothing is called filled which the report doesn't hold."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from neurocohort.report.checklists import checklists, parts_shown
from neurocohort.report.formats import Run
from neurocohort.report.methods import Methods, Paragraph
from neurocohort.report.model_card import card_sections, model_card
from neurocohort.report.model_limits import Known
from neurocohort.report.sources import Missing
from neurocohort.report.study import Folders, read_study

SECTIONS = {"participants", "split", "quality", "results", "external", "saliency", "models", "methods", "provenance"}
TEXTS = {
    "data": "The experiment age predicted the variable age. IXI had 3 scans. Of IXI, 1 record was excluded at ingest. For age, "
    "2 of 3 scans were used; scans left out: 1 at the step “with a value of age”.",
    "preprocessing": "A scan was excluded where it was cut.",
    "split": "The participants were divided into parts.",
    "training": "It took T1w volumes of voxels, classes with equal weight. The weights were optimised by AdamW, from random "
    "weights. The weights kept were those of the last epoch.",
    "evaluation": "Results were measured by the AUC with 95 % confidence intervals; results were also computed by site and sex; "
    "sensitivity, specificity, predictive values and balanced accuracy at Youden's index. "
    "For age, on record, one model of age was evaluated.",
    "software": "The analysis ran with Snakemake 9.",
}
MISSING = Missing(
    "results/experiments/age/samples.tsv", "the participants of age", "The file is not there.", "missing-1"
)


def methods_text(*left_out):
    return Methods(tuple(Paragraph(name, name, text) for name, text in TEXTS.items() if name not in left_out), ())


def experiment(**changed):
    whole = {
        "flow": {"ixi": [1]},
        "demographics": [1],
        "split": {"clean": True},
        "runs": [{"member": "seed 1"}],
        "external": [],
    }
    whole |= {"held_out": SimpleNamespace(cases=["best"]), "saliency": "a map"}
    return SimpleNamespace(**whole | changed)


def status(items, checklist="CLAIM"):
    (found,) = [one for one in items if one.title == checklist]
    return {item.id: item.status for item in found.items}


def made(methods=None, described=None, sections=SECTIONS, verdict="pass", provenance=None):
    described = [experiment()] if described is None else described
    provenance = provenance or SimpleNamespace(git="abc")
    study = read_study(Folders(Path("results")), {"experiments": {"age": SETTINGS | {"training": {"seeds": [1]}}}})
    parts = parts_shown(described, [SimpleNamespace(state=verdict)], provenance)
    return checklists(study, methods or methods_text(), sections | parts)


def test_checklists_have_the_guidelines_items():
    tripod, claim = made()
    assert [item.id for item in claim.items] == [str(number) for number in range(1, 45)]
    numbers = [item.id.rstrip("abcdefg") for item in tripod.items]
    assert list(dict.fromkeys(numbers)) == [str(number) for number in range(1, 28)] and len(numbers) == 52
    assert all(item.text and (item.sentence or item.author) for one in (tripod, claim) for item in one.items)


def test_whole_report_fills_what_it_can_and_leaves_the_rest_to_the_author():
    claim = status(made())
    assert all(
        claim[number] == "filled" for number in ("7", "9", "19", "20", "25", "26", "29", "31", "35", "36", "37", "39")
    )
    assert all(claim[number] == "for the author" for number in ("1", "3", "5", "13", "18", "34", "40", "44"))
    assert claim["33"] == "for the author"  # there is no external cohort


def test_empty_report_fills_nothing():
    empty = made(Methods((), ()), [], set(), "missing", SimpleNamespace(git=None))
    assert [one.filled for one in empty] == [0, 0]
    assert all(item.sentence == "" for one in empty for item in one.items)


def test_answers_lead_to_what_is_on_the_page():
    for one in made():
        for item in one.items:
            assert not item.anchor or item.anchor in SECTIONS | {f"methods-{name}" for name in TEXTS}
            assert bool(item.anchor) == bool(item.sentence)
            assert item.status == "for the author" or item.sentence


@pytest.mark.parametrize(
    ("number", "changed"),
    [
        ("9", {"methods": methods_text("preprocessing")}),
        ("25", {"methods": methods_text("training")}),
        ("36", {"described": [experiment(demographics=MISSING)]}),
        ("36", {"described": [experiment(), experiment(demographics=MISSING)]}),
        ("35", {"described": [experiment(flow=MISSING)]}),
        ("31", {"described": [experiment(saliency=MISSING)]}),
        ("39", {"described": [experiment(held_out=SimpleNamespace(cases=[]))]}),
        ("37", {"verdict": "missing"}),
        ("20", {"sections": SECTIONS - {"split"}}),
        ("42", {"sections": SECTIONS - {"provenance"}}),
    ],
)
def test_item_is_not_filled_where_its_part_is_missing(number, changed):
    assert status(made())[number] == "filled"
    assert status(made(**changed))[number] == "for the author"


def test_external_testing_is_filled_by_external_results_alone():
    part = SimpleNamespace(tables=[{"cohort": "oasis1"}])
    assert status(made(described=[experiment(external=[part])]))["33"] == "filled"
    assert status(made(described=[experiment(external=[SimpleNamespace(tables=[MISSING])])]))["33"] == "for the author"


SETTINGS = {"task": "regression", "target": "age", "cohorts": ["ixi"], "external": [], "modalities": ["T1w"],
            "network": {"name": "sfcn"}, "training": {"seeds": [1, 2]}}  # fmt: skip
CONFIGURATION = {"preprocessing": {"shape": [80, 96, 80], "spacing_mm": 2.0}, "split": {"folds": 0}, "demo_data": False}


def known(**changed) -> Known:
    return Known(**{"experiment": "brain_age", "settings": SETTINGS, "configuration": CONFIGURATION} | changed)


@pytest.fixture
def samples():
    parts = ["train"] * 4 + ["validation"] * 2 + ["held-out"] * 3
    table = pd.DataFrame(
        {"part": parts, "age": [30.0, 40, 50, 71.5, 35, 45, 33, 43, 53], "cohort": "ixi", "site": "Guys"}
    )
    table["participant_id"] = [f"sub-{number}" for number in range(len(table))]
    return table.assign(scan_id=table["participant_id"], sex="F", target=table["age"])


@pytest.fixture
def metrics():
    row = {"cohort": "ixi", "part": "held-out", "group": "all", "metric": "mae", "n": 3}
    rows = [("network", 5.0, 4.0, 6.0), ("volumes", 4.5, 3.5, 5.5), ("mean", 12.0, 10.0, 14.0)]
    return pd.DataFrame(
        [row | {"model": model, "value": value, "ci_low": low, "ci_high": high} for model, value, low, high in rows]
    )


def test_card_tells_figures_with_intervals_beside_every_baseline(samples, metrics):
    settings = {"network": "sfcn", "modalities": ["T1w"]}
    run = Run(settings=settings, parameters=1234, torch="2.0", device="cpu")
    card = model_card(known(run=run, metrics=metrics, samples=samples, licences={"ixi": "CC BY-SA 3.0"}))
    assert (
        "| Held-out, IXI | MAE | 5.00 [4.00, 6.00] | Training mean 12.00 [10.00, 14.00]; Tissue volumes 4.50 [3.50, 5.50] | 3 |"
        in card
    )
    assert "1,234 parameters" in card and "80 × 96 × 80 voxels of 2 mm" in card
    assert "| Training | IXI | 4 | 4 |" in card and "| Held-out | IXI | 3 | 3 |" in card
    assert "People younger than 30 or older than 72 years" in card
    assert "IXI: CC BY-SA 3.0." in card and "mean over 2 networks" in card


def test_card_says_where_its_limits_lie(samples, metrics):
    limits = card_sections(known(metrics=metrics, samples=samples))[-2]
    text = " ".join(limits.sentences)
    assert (
        "Only 3 participants were held out" in text and "from one site" in text and "not tested on an external" in text
    )
    assert "Tissue volumes alone reach 4.50, no worse than the network" in text
    assert "synthetic" not in text
    demo = card_sections(known(metrics=metrics, samples=samples, configuration=CONFIGURATION | {"demo_data": True}))
    assert "synthetic" in demo[-2].sentences[0] and "synthetic" in demo[1].sentences[0]


def test_card_of_missing_files_says_so():
    card = model_card(known())
    assert "run.json, is missing" in card and "samples.tsv is missing" in card and "metrics.tsv is missing" in card
    assert "its terms are not recorded" in card
