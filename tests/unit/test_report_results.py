"""The report's results: every table's numbers reach the page, and what is missing is a red box in its place."""

import re
import shutil
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from neurocohort.evaluation.metrics import (
    CLASSES_METRICS,
    CLASSIFICATION_METRICS,
    HIGHER_IS_BETTER,
    REGRESSION_METRICS,
    SEGMENTATION_METRICS,
)
from neurocohort.files import read_json, read_table, write_json, write_table
from neurocohort.imaging.derivatives import mosaic_name, scan_folder
from neurocohort.report import labels, shift
from neurocohort.report.figures import Drawing
from neurocohort.report.origins import FAST, GIVEN, PAINTED
from neurocohort.report.part import Content, Part
from neurocohort.report.results import part_results
from neurocohort.report.saliency import saliency
from neurocohort.report.segmentation_results import REFERENCES
from neurocohort.report.sources import Missing
from neurocohort.report.study import Study
from neurocohort.report.tables import Table
from report_fixture import EXPERIMENTS, make_study, report, study_of

TABLES = ("comparisons.tsv", "details.tsv", "shift.tsv", "spread.tsv", "curves.tsv", "confusion.tsv")


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> dict:
    return make_study(tmp_path_factory.mktemp("study"), participants=20)


@pytest.fixture(scope="module")
def page(original) -> str:
    """The text of the whole page, as a reader sees it."""
    report(original)
    return text_of(original["output"] / "index.html")


@pytest.fixture
def study(original, tmp_path) -> dict:
    """A copy whose tables a test may change."""
    for name in ("results", "data", "benchmarks", "envs"):
        shutil.copytree(original["results"].parent / name, tmp_path / name, ignore=shutil.ignore_patterns("report"))
    base = original["results"].parent
    return original | {k: tmp_path / v.relative_to(base) for k, v in original.items() if isinstance(v, Path)}


def text_of(path: Path) -> str:
    source = re.sub(r"<style>.*?</style>|<script>.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", source)).split())


def boxes_of(path: Path) -> set[str]:
    source = path.read_text(encoding="utf-8")
    return set(re.findall(r'<div class="missing"[^>]*>\s*<p><strong>Missing: <code>(.*?)</code>', source))


def results_of(study: dict, name: str, cohorts: dict | None = None, **settings) -> tuple[Content, Study]:
    """The results of one experiment on its held-out part, and the study."""
    known = study_with(study, name, cohorts, **settings)
    return part_results(Part(known.experiments[name], study["results"].parent / "page")), known


def study_with(study: dict, name: str, cohorts: dict | None = None, **settings) -> Study:
    """The study with one experiment, whose settings are changed."""
    configuration = study["configuration"] | {"experiments": {name: EXPERIMENTS[name] | settings}}
    return study_of(**study | {"configuration": configuration | ({"cohorts": cohorts} if cohorts else {})})


def table_with(part: Content, words: str) -> Table:
    found = [item for item in (*part.tables, *part.details) if isinstance(item, Table)]
    return next(table for table in found if words in f"{table.summary} {table.caption}")


def written(row: dict) -> str:
    """A row's value and interval as the page writes them."""
    places = labels.metric(row["metric"]).decimals
    found = labels.interval(row["ci_low"], row["ci_high"], places)
    return f"{labels.number(row['value'], places)} {found}".strip()


def changed(path: Path, edit) -> None:
    write_table(path, edit(read_table(path)))


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("file", ["metrics.tsv", "details.tsv", "shift.tsv"])
def test_numbers_of_a_table_stand_on_the_page(original, page, name, file):
    rows = read_table(original["results"] / "experiments" / name / file).dropna(subset=["value"])
    if file == "shift.tsv":
        rows = rows[rows["model"] == "network"]
    if file == "details.tsv":
        rows = rows[[_is_shown(row) for row in rows.to_dict("records")]]
    assert len(rows)
    assert [row for row in rows.to_dict("records") if written(row) not in page] == []


def _is_shown(row: dict) -> bool:
    """Whether a row of details.tsv has a place of its own: the rest is for the table that can be downloaded."""
    if row["metric"] in ("r2", "pearson_r", "average_precision", "empty_predictions"):
        return False
    if row["setting"] == "at threshold":
        of_group = row["metric"] in ("sensitivity", "specificity") and (
            row["group"] == "age-matched" or row["model"] == "network"
        )
        return row["group"] == "all" or of_group
    if row["group"].startswith("cdr="):
        return row["metric"] == "auc" and row["model"] == "network"
    if row["group"] == "age-matched":
        return row["metric"] in ("auc", "age_difference")
    return row["metric"] != "age_difference"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_differences_to_every_baseline_stand_on_the_page_and_the_best_is_marked(original, page, name):
    part, _ = results_of(original, name)
    rows = read_table(original["results"] / "experiments" / name / "comparisons.tsv")
    held_out = rows[rows["part"] == "held-out"].dropna(subset=["difference"])
    table = table_with(part, "Differences to every baseline")
    cells = [cell for row in table.rows for cell in row.cells if cell.value is not None]
    assert sorted(cell.value for cell in cells) == sorted(held_out["difference"])
    assert sum("★ best" in cell.note for cell in cells) == (held_out["best"] == "yes").sum()
    assert sum("✓" in cell.note for cell in cells) == (held_out["in_favour_of"] == "network").sum()
    assert part.sentences[0] in page
    metric = {"regression": "mae", "classification": "auc", "segmentation": "dice"}[EXPERIMENTS[name]["task"]]
    best = held_out.query("best == 'yes' and metric == @metric and group == 'all'").iloc[0]
    places = labels.metric(metric).decimals
    assert labels.interval(best["ci_low"], best["ci_high"], places) in part.sentences[0]
    assert labels.model(best["baseline"]) in part.sentences[0]


def test_every_metric_of_the_evaluation_has_a_label():
    names = {*REGRESSION_METRICS, *CLASSIFICATION_METRICS, *CLASSES_METRICS, *SEGMENTATION_METRICS}
    names |= {
        "sensitivity",
        "specificity",
        "ppv",
        "npv",
        "calibration_intercept",
        "calibration_slope",
        "age_difference",
    }
    names |= {"volume_bias_ml", "volume_lower_ml", "volume_upper_ml", "empty_predictions"}
    assert names - set(labels.METRICS) == set()
    for name, higher in HIGHER_IS_BETTER.items():
        assert labels.metric(name).higher_is_better is higher
    assert labels.metric_unit("mae", "age") == " years" and labels.metric_unit("mae", "mmse") == ""
    assert labels.metric_unit("hd95_mm", "dseg") == " mm"


def test_bias_corrected_values_stand_apart_and_say_what_they_are(original):
    part, _ = results_of(original, "brain_age")
    details = read_table(original["results"] / "experiments" / "brain_age" / "details.tsv")
    table = table_with(part, "Bias-corrected")
    assert "fitted on validation scans only" in table.summary and "no measure of accuracy" in table.caption
    corrected = details[(details["setting"] == "bias-corrected") & (details["part"] == "held-out")]
    values = set(corrected.loc[corrected["metric"].isin(["mae", "rmse", "bias", "bias_slope"]), "value"])
    assert {cell.value for row in table.rows for cell in row.cells if cell.interval} == values
    shown = {cell.value for row in part.tables[0].rows for cell in row.cells}
    assert not shown & values


def test_external_cohort_has_its_shared_ages_and_those_without_a_sign_of_dementia(original):
    known = study_of(**original)
    brain_age = known.experiments["brain_age"]
    external = part_results(Part(brain_age, original["results"].parent / "page", known.cohorts["oasis1"]))
    table = table_with(external, "some of the participants only")
    unimpaired = "Rated 0 for dementia or not rated"
    assert {row.head for row in table.rows} == {unimpaired, "Ages as in training", f"{unimpaired}, ages as in training"}
    assert "ealthy" not in table.summary + table.caption, "who was not rated may be ill"
    assert external.name == "OASIS-1"


def test_operating_point_says_where_the_threshold_was_chosen(original):
    part, _ = results_of(original, "dementia")
    details = read_table(original["results"] / "experiments" / "dementia" / "details.tsv")
    at = details.query("model == 'network' and setting == 'at threshold' and group == 'all'").set_index("metric")
    sentence = next(text for text in part.sentences if text.startswith("Threshold"))
    assert sentence.startswith(at["note"].iloc[0]) and "validation part" in sentence
    for name in ("sensitivity", "specificity", "ppv", "npv", "balanced_accuracy"):
        assert written(at.loc[name].to_dict() | {"metric": name}) in sentence


def test_confusion_matrix_has_a_row_a_true_class(original):
    part, _ = results_of(original, "dementia")
    cells = read_table(original["results"] / "experiments" / "dementia" / "confusion.tsv").query("model == 'network'")
    table = table_with(part, "Confusion matrix")
    assert [row.head for row in table.rows] == ["True: no dementia", "True: dementia"]
    for row in cells.to_dict("records"):
        assert table.rows[row["true"]].cells[row["called"]].text == str(row["scans"])


def test_more_than_two_classes_need_no_curves_and_have_a_full_matrix(study):
    folder = study["results"] / "experiments" / "dementia"
    rows = read_table(folder / "predictions.tsv")
    rows["target"] = np.arange(len(rows)) % 3
    for code in range(3):
        rows[f"probability_{code}"] = np.where(rows["target"] == code, 0.6, 0.2)
    write_table(folder / "predictions.tsv", rows.assign(prediction=rows["target"]))
    tested = rows[rows["part"] == "held-out"]
    cells = [
        ("network", "oasis1", "held-out", np.nan, code, code, sum(tested["target"] == code), 1) for code in range(3)
    ]
    columns = ["model", "cohort", "part", "threshold", "true", "called", "scans", "participants"]
    write_table(folder / "confusion.tsv", pd.DataFrame(cells, columns=columns))
    (folder / "curves.tsv").unlink()
    part, known = results_of(study, "dementia", classes=[0, 0.5, [1, 2]])
    table = table_with(part, "Confusion matrix")
    assert [row.head for row in table.rows] == ["True: dementia 0", "True: dementia 0.5", "True: dementia 1/2"]
    assert "by the most probable class" in table.summary
    assert not [item for item in known.sources.missing if item.file.endswith("curves.tsv")]


@pytest.mark.parametrize(
    ("cohort", "reference"),
    [
        ({"source": "oasis1"}, REFERENCES[FAST]),
        ({"source": "oasis1", "base_url": "resources/synthetic/oasis1/"}, REFERENCES[PAINTED]),
        ({"source": "oasis1", "base_url": "file:///mirror/oasis1"}, REFERENCES[FAST]),
        ({"source": "bids", "path": "own"}, REFERENCES[GIVEN]),
    ],
)
def test_segmentation_says_what_it_agrees_with(original, cohort, reference):
    part, _ = results_of(original, "tissue", cohorts={"oasis1": cohort})
    sentence = next(text for text in part.sentences if "agreement with" in text)
    assert reference in sentence
    assert ("not accuracy" in sentence) == ("FAST" in reference)


def test_empty_predictions_are_counted_by_tissue(study):
    part, _ = results_of(study, "tissue")
    assert any(text.startswith("Empty predictions: none") for text in part.sentences)

    def emptied(rows: pd.DataFrame) -> pd.DataFrame:
        chosen = (
            (rows["metric"] == "empty_predictions") & (rows["group"] == "tissue=CSF") & (rows["model"] == "network")
        )
        return rows.assign(
            value=rows["value"].mask(chosen, 2), note=rows["note"].astype("object").mask(chosen, "Empty: sub-a, sub-b.")
        )

    changed(study["results"] / "experiments" / "tissue" / "details.tsv", emptied)
    part, _ = results_of(study, "tissue")
    assert any("CSF in 2 scans (Empty: sub-a, sub-b)" in text for text in part.sentences)


def test_segmentation_without_surface_distances_is_a_red_box(study):
    changed(study["results"] / "experiments" / "tissue" / "metrics.tsv", lambda rows: rows[rows["metric"] == "dice"])
    _, known = results_of(study, "tissue")
    assert [item.why for item in known.sources.missing if "hd95_mm" in item.why]


def test_spread_shows_where_there_are_several_members(study):
    part, _ = results_of(study, "brain_age")
    assert not any("networks" in item.summary for item in part.details if isinstance(item, Table))
    path = study["results"] / "experiments" / "brain_age" / "spread.tsv"
    changed(path, lambda rows: rows.assign(members=3, sd=0.25, lowest=4.5, highest=7.125, mean=5.75))
    part, _ = results_of(study, "brain_age")
    table = table_with(part, "Over 3 networks")
    assert table.summary == "Over 3 networks MAE was 5.75 ± 0.25, from 4.50 to 7.12."


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_best_median_and_worst_scan_are_those_of_the_errors(original, name):
    part, known = results_of(original, name)
    rows = read_table(original["results"] / "experiments" / name / "predictions.tsv").query("part == 'held-out'")
    if EXPERIMENTS[name]["task"] == "segmentation":
        errors = -rows.groupby("scan_id")["dice"].mean()
    else:
        errors = (rows["prediction"] - rows["target"]).abs().set_axis(rows["scan_id"])
    ordered = errors.sort_values().index
    cases = {case.place: case for case in part.cases}
    assert list(cases) == ["Best", "Median", "Worst"]
    expected = {"Best": ordered[0], "Median": ordered[(len(ordered) - 1) // 2], "Worst": ordered[-1]}
    assert {place: case.scan_id for place, case in cases.items()} == expected
    assert all(isinstance(case.image, Drawing) for case in cases.values())
    assert all(case.page.endswith(f"/{case.scan_id}.html") for case in cases.values())
    assert not [item for item in known.sources.missing if "mosaic" in item.what]


def test_case_without_its_mosaic_is_a_red_box(study):
    part, _ = results_of(study, "tissue")
    worst = part.cases[-1].scan_id
    shutil.rmtree(study["results"].parent / "page")
    (scan_folder(study["results"] / "oasis1" / "preproc", worst) / mosaic_name(worst)).unlink()
    part, _ = results_of(study, "tissue")
    assert isinstance(part.cases[-1].image, Missing)
    assert worst in part.cases[-1].image.file


def test_shift_has_a_row_for_a_left_out_site_with_its_test_under_that_site(study):
    base = study["results"] / "experiments" / "brain_age"
    left_out = study["results"] / "experiments" / "brain_age_without-HH"
    rows = read_table(base / "shift.tsv").query("model == 'network' and cohort == 'ixi' and site == 'all'")
    seen = rows.assign(trained_on="ixi (Guys, IOP)", value=5.5)
    new = rows.assign(trained_on="ixi (Guys, IOP)", part="external", seen="new site", value=9.25)
    write_table(left_out / "shift.tsv", pd.concat([seen, new]))
    write_table(left_out / "networks.tsv", read_table(base / "networks.tsv"))
    known = study_with(study, "brain_age", leave_one_site_out=["HH"])
    (matrix,) = shift.matrices(known)
    heads = [column.label for column in matrix.table.columns]
    by_name = {row.head: dict(zip(heads[1:], row.cells, strict=True)) for row in matrix.table.rows}
    row = by_name["Brain age without-HH"]
    assert (row["IXI, all"].text, row["IXI, HH"].text) == ("5.50", "9.25")
    assert "▲ new site" in row["IXI, HH"].note and "▲" not in row["IXI, all"].note
    assert row["Trained on"].text == "IXI (Guys, IOP)" and row["OASIS-1, all"].text == "–"
    assert "9.25" in matrix.sentence and known.sources.missing == []
    (left_out / "shift.tsv").unlink()
    (matrix,) = shift.matrices(study_with(study, "brain_age", leave_one_site_out=["HH"]))
    assert matrix.missing[0].file == "results/experiments/brain_age_without-HH/shift.tsv"
    assert len(matrix.table.rows) == 1


def test_left_out_site_of_a_cohort_with_missing_sites_is_shown_under_its_name_and_claims_nothing(study):
    base = study["results"] / "experiments" / "brain_age"
    rows = read_table(base / "shift.tsv").query("model == 'network' and cohort == 'ixi' and site == 'all'")
    write_table(base / "shift.tsv", rows.assign(seen="site"))
    tested = rows.assign(part="external", seen="unknown", value=9.25)
    abroad = tested.assign(cohort="oasis1", seen="new cohort", value=7.5)
    write_table(base.with_name("brain_age_without-HH") / "shift.tsv", pd.concat([tested, abroad]))
    (matrix,) = shift.matrices(study_with(study, "brain_age", leave_one_site_out=["HH"]))
    heads = [column.label for column in matrix.table.columns]
    assert heads[3:] == ["IXI, all", "IXI, HH", "OASIS-1, all"], "an external cohort keeps its own name"
    assert "on cohorts that training had not seen 7.50 years" in matrix.sentence
    assert "not all known 9.25 years" in matrix.sentence


def matrix_of(study: dict, **edits: dict) -> shift.Matrix:
    """The matrix of brain age where shift.tsv has ``seen`` by cohort, such as ``ixi=["site"]`` for its rows in turn."""
    path = study["results"] / "experiments" / "brain_age" / "shift.tsv"
    table = read_table(path)
    for cohort, values in edits.items():
        own = table["cohort"] == cohort
        table.loc[own, "seen"] = np.resize(np.array(values, dtype=object), own.sum())
    write_table(path, table)
    (matrix,) = shift.matrices(study_with(study, "brain_age"))
    return matrix


def test_only_known_new_sites_and_cohorts_support_a_claim_about_unseen_data(study):
    matrix = matrix_of(study, ixi=["site"], oasis1=["new cohort"])
    assert (
        "on cohorts that training had not seen" in matrix.sentence
        and "on sites that training had seen" in matrix.sentence
    )
    assert "▲ scans of a cohort that training had not seen. Look along a row" in matrix.table.caption
    matrix = matrix_of(study, ixi=["new site"], oasis1=["new cohort"])
    assert "on sites and cohorts that training had not seen" in matrix.sentence
    assert "▲ scans of a site or of a cohort" in matrix.table.caption and "Look along a row" not in matrix.table.caption


@pytest.mark.parametrize(
    ("seen", "mark", "words"),
    [
        ("unknown", "? site unknown", "where the sites of the tested or the training scans are not all known"),
        ("partly new", "△ partly new sites", "on scans of which some are of a site that training had not seen"),
        ("site", "", "on sites that training had seen"),
    ],
)
def test_where_no_site_is_known_to_be_new_nothing_is_claimed_of_other_scanners(study, seen, mark, words):
    matrix = matrix_of(study, ixi=[seen], oasis1=["site"])
    assert words in matrix.sentence and "training had not seen:" not in matrix.sentence
    assert "nothing here shows how far the network carries" in matrix.sentence
    assert "▲" not in matrix.table.caption + matrix.sentence
    notes = " ".join(cell.note for row in matrix.table.rows for cell in row.cells)
    shown = {sign for sign in "▲△?" if sign in notes}
    assert shown == set(mark[:1]) == {sign for sign in "▲△?" if sign in matrix.table.caption}
    assert mark in notes


def test_new_site_without_a_defined_value_is_not_called_untested(study):
    path = study["results"] / "experiments" / "brain_age" / "shift.tsv"
    table = read_table(path)
    table.loc[table["cohort"] == "oasis1", "value"] = np.nan
    write_table(path, table)
    matrix = matrix_of(study, oasis1=["new cohort"])
    assert "that training had not seen not defined" in matrix.sentence and "No experiment" not in matrix.sentence


def test_saliency_shows_both_maps_and_their_correlation(original, page, tmp_path):
    experiments = study_of(**original).experiments
    drawing = saliency(experiments["dementia"], tmp_path)
    assert isinstance(drawing, Drawing) and drawing.file.endswith(".webp")
    assert "correlate by 0.31" in drawing.caption and drawing.caption in page
    assert (tmp_path / drawing.file).stat().st_size < 100_000
    assert saliency(experiments["tissue"], tmp_path) is None


@pytest.mark.parametrize("damage", ["absent", "no image", "no array", "other shape", "no key"])
def test_saliency_that_cannot_be_read_is_a_red_box(study, tmp_path, damage):
    folder = study["results"] / "experiments" / "dementia" / "saliency"
    with np.load(folder / "saliency.npz") as stored:
        arrays = dict(stored)
    if damage == "absent":
        (folder / "saliency.npz").unlink()
    elif damage == "no image":
        (folder / "saliency.npz").write_bytes(b"PK\x03\x04 cut off")
    elif damage == "no array":
        np.savez(folder / "saliency.npz", **{name: value for name, value in arrays.items() if name != "random"})
    elif damage == "other shape":
        np.savez(folder / "saliency.npz", **arrays | {"mask": np.ones((3, 3, 3))})
    else:
        record = read_json(folder / "saliency.json")
        write_json(folder / "saliency.json", {key: value for key, value in record.items() if key != "correlation"})
    found = saliency(study_of(**study).experiments["dementia"], tmp_path / "page")
    assert isinstance(found, Missing)
    assert found.file == f"results/experiments/dementia/saliency/saliency.{'json' if damage == 'no key' else 'npz'}"


def test_each_missing_table_is_a_red_box_and_the_rest_stands(study):
    removed = {f"results/experiments/dementia/{file}" for file in TABLES}
    removed |= {f"results/experiments/{name}/comparisons.tsv" for name in ("brain_age", "tissue")}
    removed |= {"results/experiments/tissue/details.tsv", "results/experiments/brain_age/saliency/saliency.npz"}
    for name in removed:
        (study["results"].parent / name).unlink()
    report(study)
    index = study["output"] / "index.html"
    assert removed <= boxes_of(index)
    assert "Best, median and worst held-out scan" in text_of(index) and "Brain-PAD" in text_of(index)


def test_part_of_one_class_says_that_a_curve_has_no_meaning(study):
    changed(study["results"] / "experiments" / "dementia" / "predictions.tsv", lambda rows: rows.assign(target=1.0))
    part, _ = results_of(study, "dementia")
    assert [item.why for item in part.figures if isinstance(item, Missing) and "1 of the two" in item.why]


def test_table_of_an_only_cohort_has_no_column_for_it_and_pooled_cohorts_come_first(study):
    part, _ = results_of(study, "dementia")
    assert "Cohort" not in [column.label for column in table_with(part, "Operating point").columns]
    path = study["results"] / "experiments" / "brain_age" / "metrics.tsv"
    changed(
        path,
        lambda rows: pd.concat([rows, rows[rows["part"] == "held-out"].assign(cohort="all")]),
    )
    part, _ = results_of(study, "brain_age")
    first, second = part.tables
    assert first.summary == "" and first.caption.startswith("All cohorts")
    assert second.summary.startswith("IXI alone: MAE ")
