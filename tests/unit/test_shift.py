"""Training cohorts and sites against test cohorts and sites."""

import numpy as np
import pandas as pd
import pytest
from evaluation_samples import NO_BASELINE, QUICK, aged
from neurocohort.evaluation.shift import shift_matrix, shift_rows
from sklearn import metrics as sk


def test_shift_tells_what_was_trained_on_and_whether_a_test_site_was_seen():
    held_out, external = aged(30), aged(24, "external", "b")
    samples = pd.concat([aged(20).assign(part="train", site="x"), held_out, external])
    found = shift_rows(pd.concat([held_out, external]), NO_BASELINE, samples, "regression", QUICK)
    rows = found.set_index(["cohort", "site"])
    assert rows["seen"].to_dict() == {
        ("a", "all"): "partly new", ("a", "x"): "site", ("a", "y"): "new site",
        ("b", "all"): "new cohort", ("b", "x"): "new cohort", ("b", "y"): "new cohort",
    }  # fmt: skip
    own = held_out[held_out["site"] == "y"]
    assert rows.loc[("a", "y"), "value"] == pytest.approx(
        sk.mean_absolute_error(own["target"], own["prediction"]), abs=1e-6
    )
    assert rows.loc[("a", "y"), "n"] == len(own) and set(found["trained_on"]) == {"a"}
    matrix = shift_matrix({"age": found, "again": found.assign(value=1.0)})
    assert matrix.shape == (2, 6) and matrix.columns[0] == ("a", "all")
    assert matrix.loc[("again", "a")].tolist() == [1.0] * 6


def seen_of(trained: list, tested: list, part: str = "held-out") -> dict:
    """By site, what shift.tsv says of a cohort with these sites, four participants each."""
    train, test = aged(4 * len(trained)), aged(4 * len(tested), part)
    train = train.assign(part="train", site=np.repeat(pd.array(trained, dtype=object), 4))
    test = test.assign(site=np.repeat(pd.array(tested, dtype=object), 4))
    found = shift_rows(test, NO_BASELINE, pd.concat([train, test]), "regression", QUICK)
    return found.set_index("site")["seen"].to_dict()


@pytest.mark.parametrize(
    ("trained", "tested", "expected"),
    [
        ([None], [None], {"all": "unknown"}),
        (["x"], ["x"], {"all": "site"}),
        (["x", "y"], ["x", "y"], {"all": "site", "x": "site", "y": "site"}),
        (["x"], ["y"], {"all": "new site"}),
        (["x"], ["y", "z"], {"all": "new site", "y": "new site", "z": "new site"}),
        (["x"], ["x", "y"], {"all": "partly new", "x": "site", "y": "new site"}),
        (["x"], ["x", None], {"all": "unknown", "x": "site"}),
        (["x"], ["y", None], {"all": "partly new", "y": "new site"}),
        (["x", None], ["x"], {"all": "site"}),
        (["x", None], ["y"], {"all": "unknown"}),
        (["x", None], ["x", "y"], {"all": "unknown", "x": "site", "y": "unknown"}),
        ([None], ["y"], {"all": "unknown"}),
        (["x"], [None], {"all": "unknown"}),
        ([1.0, None, 2.0], [1, 2], {"all": "site", "1": "site", "2": "site"}),
    ],
)
def test_site_counts_as_new_only_where_it_is_known_that_training_had_none_of_it(trained, tested, expected):
    assert seen_of(trained, tested) == expected
