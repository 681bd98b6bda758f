"""Sets of classes: their coverage by class in a simulation, a set by hand, and what is said where there can't be any."""

import numpy as np
import pandas as pd
import pytest
from evaluation_samples import NO_BASELINE, QUICK, people, rated
from neurocohort.evaluation.conformal import FEWEST
from neurocohort.evaluation.conformal_rule import class_is_in_set, set_text
from neurocohort.evaluation.conformal_sets import SETTING, prediction_sets, set_calibrations_of
from neurocohort.evaluation.tables import evaluation_tables


def probability(target: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Of class 1, badly calibrated: the rare class looks like the other one for most of its participants."""
    return 1 / (1 + np.exp(1.5 - 1.2 * target - generator.normal(0, 1, len(target))))


def drawn(cases: int, controls: int, part: str, generator: np.random.Generator) -> pd.DataFrame:
    target = np.repeat([1, 0], [cases, controls])
    return people(cases + controls, part).assign(target=target, prediction=probability(target, generator).round(6))


def test_sets_contain_the_true_class_of_94_to_97_percent_of_each_class():
    generator, inside = np.random.default_rng(5), {0: [], 1: []}
    for _ in range(2000):
        for code, count in ((0, 90), (1, 25)):
            seen, new = (probability(np.full(size, code), generator) for size in (count, 20))
            of_class = [own if code else 1 - own for own in (seen, new)]
            found = class_is_in_set(np.repeat(of_class[1][:, None], count, axis=1), 1 - of_class[0], 0.95)
            inside[code].append(found.mean())
    assert all(0.94 < np.mean(found) < 0.97 for found in inside.values())


def test_cross_validated_sets_contain_the_true_class_of_94_to_97_percent_of_each_class():
    generator, inside = np.random.default_rng(6), {0: [], 1: []}
    for _ in range(60):
        own, new = drawn(25, 90, "validation", generator), drawn(20, 20, "held-out", generator)
        samples = pd.concat([own.assign(part="train"), new], ignore_index=True)
        samples = samples.assign(fold=np.arange(len(samples)) % 5 + 1)
        noise = [new["prediction"] + generator.normal(0, 0.02, len(new)) for _ in range(5)]
        members = pd.concat(
            [new.assign(member=f"fold-{fold}_seed-1", prediction=values) for fold, values in enumerate(noise, 1)]
        )
        table = pd.concat([own, new.assign(prediction=np.mean(noise, axis=0))], ignore_index=True)
        sets = prediction_sets(table, members, set_calibrations_of(table, members, samples))
        for code, rows in sets.groupby("target"):
            inside[code].append(rows["set"].str.contains(str(code)).mean())
    assert all(0.94 < np.mean(found) < 0.97 for found in inside.values())


def test_class_is_in_the_set_up_to_the_quantile_of_the_errors_of_its_participants():
    errors = np.arange(1, 40) / 100  # 39: the 38th of 39 is 0.95 * 40
    probabilities = np.array([0.62, 0.61, 0.99])
    found = class_is_in_set(np.repeat(probabilities[:, None], 39, axis=1), errors, 0.95)
    assert found.tolist() == [True, False, True], "the 38th smallest error is 0.38"
    assert [set_text(own) for own in ([], [1], [0, 1])] == ["{}", "{1}", "{0, 1}"]


def tables_of(validation: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """intervals.tsv, and the rows of sets in details.tsv, with one external cohort."""
    predictions = pd.concat([validation, rated(60), rated(30, "external", "b", seed=5)], ignore_index=True)
    found = evaluation_tables(
        predictions=predictions,
        baselines=NO_BASELINE,
        members=predictions.assign(member="seed-1"),
        samples=predictions,
        scans={name: rows[["scan_id"]] for name, rows in predictions.groupby("cohort")},
        kind="classification",
        bootstrap=QUICK,
    )
    found = dict(found)
    return found["intervals"], found["details"][found["details"]["setting"] == SETTING]


def test_coverage_by_class_and_sizes_of_sets_are_in_the_details_and_external_cohorts_have_a_warning():
    sets, details = tables_of(rated(90, "validation", seed=3))
    assert len(sets) == 90 and set(sets["set"]) <= {"{}", "{0}", "{1}", "{0, 1}"}
    rows, own = details.set_index(["part", "group", "metric"]), sets[sets["part"] == "held-out"]
    inside = np.array([str(code) in text for code, text in zip(own["target"], own["set"], strict=True)])
    assert rows.loc[("held-out", "all", "coverage"), "value"] == pytest.approx(inside.mean(), abs=1e-6)
    for code in (0, 1):
        found = rows.loc[("held-out", f"class={code}", "coverage")]
        assert found["value"] == pytest.approx(inside[own["target"] == code].mean(), abs=1e-6)
        assert found["n"] == (own["target"] == code).sum() and found["interval"] == "wilson"
    sizes = details.query("part == 'held-out' and group == 'all'").set_index("metric")["value"]
    assert sizes["one_class_sets"] + sizes["several_class_sets"] + sizes["empty_sets"] == pytest.approx(1, abs=2e-6)
    assert sizes["several_class_sets"] == pytest.approx((own["set"] == "{0, 1}").mean(), abs=1e-6)
    assert "this cohort's may differ" in rows.loc[("external", "all", "coverage"), "note"]
    assert "coverage is approximate" in rows.loc[("held-out", "all", "coverage"), "note"]
    assert "may differ" not in rows.loc[("held-out", "class=1", "coverage"), "note"]


@pytest.mark.parametrize(("cases", "finite"), [(FEWEST, True), (FEWEST - 1, False)])
def test_class_with_too_few_participants_gives_no_set_and_a_note_with_the_numbers(cases, finite):
    seen = drawn(cases, 40, "validation", np.random.default_rng(1))
    sets, details = tables_of(pd.concat([seen, seen.assign(scan_id=seen["scan_id"] + "_2")]))
    assert sets["set"].notna().all() == finite == sets["set"].notna().any()
    assert details["value"].notna().all() == finite
    numbers = f"40 of class 0, {cases} of class 1"
    start = "95 % sets, calibrated by class" if finite else f"No sets: validation participants {numbers}, and a set"
    assert details["note"].str.startswith(start).all() and details["note"].str.contains(numbers).all()


def test_each_test_fold_has_sets_of_its_own_and_external_scans_those_of_all():
    generator = np.random.default_rng(2)
    seen, tested = drawn(20, 20, "validation", generator), drawn(20, 20, "held-out", generator)
    external = rated(10, "external", "b", seed=5)
    tables = []
    for number, sure in ((1, 0.9), (2, 0.0)):
        hopeless = seen["prediction"].where(seen["target"] == 0, 0.0)  # in fold 2 nothing rules class 1 out
        own = seen.assign(test_fold=number, prediction=(sure * seen["target"] + 0.05) if sure else hopeless)
        tables += [own, tested[tested.index % 2 == number - 1].assign(test_fold=number)]
    predictions = pd.concat([*tables, external.assign(test_fold=pd.NA)], ignore_index=True)
    members = pd.concat(
        [
            rows.assign(member=f"test-{number}_seed-1")
            for number in (1, 2)
            for rows in (predictions[predictions["test_fold"] == number], external)
        ]
    )
    found = set_calibrations_of(predictions, members, predictions)
    assert sorted(found) == [0, 1, 2] and [len(one.residuals) for one in found[0]] == [20, 20]
    sets = prediction_sets(predictions, members, found).merge(tested[["scan_id"]].assign(fold=tested.index % 2 + 1))
    assert sets.loc[sets["fold"] == 2, "set"].str.contains("1").all()
    assert not sets.loc[sets["fold"] == 1, "set"].str.contains("1").all()


def test_sets_of_three_classes():
    generator, tables = np.random.default_rng(4), []
    for part in ("validation", "held-out"):
        target = np.arange(90) % 3
        probabilities = generator.dirichlet(np.ones(3), 90) + 2 * np.eye(3)[target]
        columns = {f"probability_{code}": (probabilities[:, code] / 3).round(6) for code in range(3)}
        tables.append(people(90, part).assign(target=target, prediction=probabilities.argmax(axis=1), **columns))
    table = pd.concat(tables, ignore_index=True)
    members = table.assign(member="seed-1")
    sets = prediction_sets(table, members, set_calibrations_of(table, members, table))["set"]
    assert sets.str.count(r"\d").between(0, 3).all() and sets.str.contains("2").any()
