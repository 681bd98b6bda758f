"""Figures that mean nothing are n/a: of one class, of one age, of one participant, of nobody."""

import numpy as np
import pandas as pd
import pytest
from neurocohort.evaluation.comparisons import compare
from neurocohort.evaluation.evaluate import evaluate
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.metrics import CLASSIFICATION_METRICS
from neurocohort.report.methods import Methods, Paragraph
from neurocohort.report.references import cited

KIND = "Figure that means nothing"

SETTINGS = Bootstrap(100, seed=1)


def tables(target, count: int | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The network's predictions for an external cohort with these targets, and those of two baselines."""
    target = np.asarray(target, dtype=float)[:count]
    rng = np.random.default_rng(2)
    rows = pd.DataFrame({"cohort": "b", "part": "external", "target": target})
    rows["scan_id"] = rows["participant_id"] = [f"s{place}" for place in range(len(rows))]
    network = rows.assign(prediction=rng.random(len(rows)))
    baselines = [rows.assign(model=name, prediction=rng.random(len(rows))) for name in ("volumes", "constant")]
    return network, pd.concat(baselines, ignore_index=True)


@pytest.mark.parametrize("one_class", [0, 1])
def test_an_external_cohort_of_one_class_has_no_auc_no_average_precision_and_no_best_baseline(one_class):
    given = tables(np.full(20, one_class))
    found = evaluate(*given, "classification", SETTINGS).set_index(["model", "metric"])
    for metric in ("auc", "average_precision", "balanced_accuracy"):
        assert found.loc[("network", metric), ["value", "ci_low", "ci_high"]].isna().all()
    compared = compare(*given, "classification", SETTINGS)
    assert len(compared) and set(compared["best"]) == {"no"}


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_a_constant_target_has_no_correlation_and_no_best_baseline(kind):
    given = tables(np.full(20, 1.0))
    found = evaluate(*given, kind, SETTINGS).set_index(["model", "metric"])["value"]
    undefined = ("r2", "pearson_r", "bias_slope") if kind == "regression" else ("auc", "average_precision")
    assert found.loc["network"].loc[list(undefined)].isna().all()
    assert set(compare(*given, kind, SETTINGS)["best"]) == {"no"}


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_a_handful_of_participants_has_no_figures(count, kind):
    given = tables([0, 1, 1], count)
    assert evaluate(*given, kind, SETTINGS).empty and compare(*given, kind, SETTINGS).empty


def test_targets_that_differ_have_a_best_baseline_still():
    compared = compare(*tables(np.arange(20) % 2), "classification", SETTINGS)
    assert compared.groupby("metric")["best"].apply(lambda column: (column == "yes").sum()).eq(1).all()


def test_average_precision_of_resamples_without_controls_is_not_defined():
    weights = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    found = CLASSIFICATION_METRICS["average_precision"](np.array([1, 1, 0]), np.array([0.9, 0.2, 0.5]), weights)
    assert np.isfinite(found[0]) and np.isnan(found[1])


def test_names_in_the_methods_text_are_no_markup_and_no_citation():
    site = "<img src=x onerror=alert(1)> [link](javascript:x) **b** [@nobody]\n# heading `code` $x$ a_b_c"
    text = f"The cohort had scans from {site}, as in [@wen2020]."
    references = cited([text])
    markdown = Methods((Paragraph("data", "Data", text),), tuple(references)).markdown
    assert [one.key for one in references] == ["wen2020"] and markdown.count("[@wen2020]") == 1
    assert r"\<img src=x onerror=alert(1)\> \[link\](javascript:x) \*\*b\*\* \[\@nobody\]" in markdown
    assert "\n# heading" not in markdown and r"\`code\` \$x\$ a\_b\_c" in markdown
