"""The report of a classification of more than two classes: its headline, its tables and its figure."""

import numpy as np
import pandas as pd
import pytest
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.tables import evaluation_tables
from neurocohort.files import read_table, write_table
from neurocohort.report.headline import headline
from report_fixture import EXPERIMENTS, make_study, report, study_of

RATED = {"dementia": EXPERIMENTS["dementia"] | {"target": "cdr", "classes": [0, 0.5, [1, 2]]}}


@pytest.fixture
def study(tmp_path, monkeypatch) -> dict:
    """The fixture's study whose dementia experiment has three classes instead."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1800000000")
    arguments = make_study(tmp_path, participants=40)
    folder = arguments["results"] / "experiments" / "dementia"
    rng = np.random.default_rng(3)
    tested = read_table(folder / "predictions.tsv").drop(columns="prediction")
    tested["target"] = tested.groupby("part").cumcount() % 3

    def guess(strength: float) -> pd.DataFrame:
        scores = strength * np.eye(3)[tested["target"]] + rng.normal(0, 1, (len(tested), 3))
        probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        columns = {f"probability_{code}": column for code, column in enumerate(probabilities.T)}
        return tested.assign(prediction=probabilities.argmax(axis=1), **columns)

    same = {f"probability_{code}": share for code, share in enumerate((0.5, 0.3, 0.2))}
    tables = {"majority": tested.assign(prediction=0, **same), "voxel_svm": guess(1.0), "volumes": guess(0.0)}
    baselines = pd.concat([table.assign(model=name) for name, table in tables.items()])
    predictions = guess(2.2)
    write_table(folder / "predictions.tsv", predictions)
    write_table(folder / "baselines.tsv", baselines)
    beside = {"members": predictions.assign(member="seed-1"), "samples": read_table(folder / "samples.tsv")}
    scans = {"oasis1": read_table(arguments["data"] / "oasis1" / "scans.tsv")}
    for name, table in evaluation_tables(predictions=predictions, baselines=baselines, **beside, scans=scans,
                                         kind="classification", bootstrap=Bootstrap(100, seed=1)):  # fmt: skip
        write_table(folder / f"{name}.tsv", table)
    arguments["configuration"] |= {"experiments": EXPERIMENTS | RATED}
    return arguments


def test_headline_is_the_macro_auc_with_the_best_baseline_beside_it(study):
    (verdict,) = headline([study_of(**study).experiments["dementia"]])
    assert (*verdict.headline[:2], verdict.trivial.value) == ("auc_macro", "majority", 0.5)
    assert verdict.state == "pass" and 0.8 < verdict.network.value < 0.999 and verdict.caveat == ""
    assert verdict.best_name == "voxel_svm" and 0.5 < verdict.best.value < verdict.network.value
    assert "The best of the other baselines, a linear support vector machine on the voxels: 0." in verdict.sentence


def test_baseline_that_is_better_than_the_network_becomes_the_caveat(study):
    path = study["results"] / "experiments" / "dementia" / "metrics.tsv"
    metrics = read_table(path)
    metrics.loc[(metrics["model"] == "volumes") & (metrics["metric"] == "auc_macro"), "value"] = 0.999
    write_table(path, metrics)
    (verdict,) = headline([study_of(**study).experiments["dementia"]])
    assert verdict.best_name == "volumes"
    assert verdict.caveat == "Tissue volumes alone reach 0.999, no worse than the network."
    assert verdict.sentence.endswith(verdict.caveat)


def test_report_shows_every_metric_and_a_curve_of_each_class(study):
    assert report(study) == []
    page = (study["output"] / "index.html").read_text(encoding="utf-8")
    drawn = (study["output"] / "figures" / "dementia_roc.svg").read_text(encoding="utf-8")
    for name in ("CDR 0", "CDR 0.5", "CDR 1/2"):
        assert name in drawn
    value = read_table(study["results"] / "experiments" / "dementia" / "metrics.tsv").set_index(
        ["model", "metric", "group"]
    )
    for model in ("network", "majority", "voxel_svm", "volumes"):
        for metric in ("auc_macro", "accuracy", "balanced_accuracy"):
            assert f"{value.loc[(model, metric, 'all'), 'value']:.3f}" in page


def test_class_that_the_held_out_part_lacks_has_no_curve(study):
    path = study["results"] / "experiments" / "dementia" / "predictions.tsv"
    predictions = read_table(path)
    write_table(path, predictions[predictions["target"] != 1])
    report(study)
    drawn = (study["output"] / "figures" / "dementia_roc.svg").read_text(encoding="utf-8")
    assert "CDR 1/2" in drawn and "CDR 0.5" not in drawn


def test_two_classes_by_lists_of_values_keep_the_usual_headline(study):
    settings = EXPERIMENTS["dementia"] | {"classes": [0, [0.5, 1, 2]]}
    study["configuration"] |= {"experiments": {"dementia": settings}}
    (verdict,) = headline(study_of(**study).experiments.values())
    assert verdict.metric == "auc"
