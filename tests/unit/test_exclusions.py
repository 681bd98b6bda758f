"""The excluded against the kept: counted by participant, tested as scipy does, and stated no more surely than the data
allow."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from neurocohort.evaluation.excluded import EXCLUDED_COLUMNS, NOT_KNOWN, excluded_against_kept, holm
from neurocohort.files import read_table, write_table
from neurocohort.report.exclusions import compare_excluded
from neurocohort.report.study import Folders, read_study
from report_fixture import make_study, report
from scipy import stats

DEMENTIA = {"dementia": {"task": "classification", "target": "dementia", "cohorts": ["archive"]}}
GRADES = {"grade": {"task": "classification", "target": "cdr", "classes": [0, [0.5, 1, 2]], "cohorts": ["archive"]}}
INGEST = pd.DataFrame(columns=["participant_id", "scan_id", "stage", "reason"])


def archive(count: int = 60) -> pd.DataFrame:
    """A cohort in which every third participant has a CDR of 1, and the last has no sex."""
    rng = np.random.default_rng(3)
    people = [f"p{number:02d}" for number in range(count)]
    table = pd.DataFrame({"participant_id": people, "scan_id": [f"{person}_ses-1" for person in people]})
    table["age"] = rng.uniform(20, 90, count).round(1)
    table["sex"] = [*rng.choice(["F", "M"], count - 1), None]
    table["site"] = rng.choice(["north", "south", "west"], count)
    table["cdr"] = np.where(np.arange(count) % 3 == 0, 1.0, 0.0)
    return table.assign(dementia=(table["cdr"] > 0).astype(int))


def compared(tmp_path: Path, scans: pd.DataFrame, lost: list[str], experiments: dict | None = None, ingest=INGEST):
    """The comparison where the scans ``lost`` were excluded in preprocessing."""
    write_table(tmp_path / "data" / "archive" / "scans.tsv", scans)
    later = scans.loc[scans["scan_id"].isin(lost), ["participant_id", "scan_id"]].assign(
        stage="registration", reason="x"
    )
    write_table(tmp_path / "data" / "archive" / "exclusions.tsv", ingest)
    write_table(tmp_path / "results" / "archive" / "exclusions.tsv", pd.concat([ingest, later]))
    configuration = {"cohorts": {"archive": {}}, "experiments": experiments or {}}
    study = read_study(Folders(tmp_path / "results", tmp_path / "data"), configuration)
    return compare_excluded(study, study.cohorts["archive"])


def rows_of(found, variable: str) -> pd.DataFrame:
    return found.rows[found.rows["variable"] == variable].set_index("level")


def test_counts_and_p_values_are_scipys(tmp_path):
    scans = archive()
    lost = scans["scan_id"][:12]
    found = compared(tmp_path, scans, list(lost), DEMENTIA)
    out = scans["scan_id"].isin(lost)
    age = rows_of(found, "Age (years)").loc["mean (SD)"]
    assert age["excluded"] == f"{scans['age'][out].mean():.1f} ({scans['age'][out].std():.1f})"
    assert age["p"] == pytest.approx(stats.mannwhitneyu(scans["age"][out], scans["age"][~out]).pvalue)
    classes = rows_of(found, "Dementia")
    assert classes.index.tolist() == ["no dementia", "dementia"]
    table = np.array([[(side & (scans["dementia"] == code)).sum() for side in (out, ~out)] for code in (0, 1)])
    assert classes[["excluded", "kept"]].astype(int).to_numpy().tolist() == table.tolist()
    assert classes["p"].iloc[0] == pytest.approx(stats.fisher_exact(table).pvalue)
    assert classes["fraction_excluded"].tolist() == pytest.approx((table[:, 0] / table.sum(axis=1)).tolist(), abs=1e-4)
    site = rows_of(found, "Site")
    assert site.index.tolist() == ["north", "south", "west"]
    counts = site[["excluded", "kept"]].astype(int).to_numpy()
    other_draws = stats.MonteCarloMethod(n_resamples=20_000, rng=np.random.default_rng(99))
    assert site["p"].iloc[0] == pytest.approx(stats.fisher_exact(counts, method=other_draws).pvalue, abs=0.02)
    sex = rows_of(found, "Sex")
    assert sex.index.tolist() == ["F", "M", NOT_KNOWN] and sex.loc[NOT_KNOWN, "kept"] == "1"
    known = sex.loc[["F", "M"], ["excluded", "kept"]].astype(int).to_numpy()
    assert sex["p"].iloc[0] == pytest.approx(stats.fisher_exact(known).pvalue), "who isn't known isn't tested"


def test_holms_correction_is_step_down():
    assert holm([0.01, 0.04, 0.03, float("nan")])[:3] == pytest.approx([0.03, 0.06, 0.06])
    assert np.isnan(holm([0.01, float("nan")])[1]) and holm([0.6, 0.9]) == [1.0, 1.0]


def test_classes_are_those_of_the_experiment(tmp_path):
    scans = archive()
    found = compared(
        tmp_path, scans, list(scans["scan_id"][:12]), GRADES | {"other": DEMENTIA["dementia"] | {"cohorts": []}}
    )
    classes = rows_of(found, "CDR, classes of grade")
    assert classes.index.tolist() == ["CDR 0", "CDR 0.5/1/2"] and rows_of(found, "CDR").index.tolist() == ["0", "1"]
    assert "Dementia" not in set(found.rows["variable"]), "the experiment does not use the cohort"


def test_values_of_no_class_are_compared_too(tmp_path):
    scans = archive()
    mild = {"grade": GRADES["grade"] | {"classes": [0, 0.5]}}
    scans["cdr"] = [2.0 if number % 5 == 0 else 0.5 if number % 2 else 0.0 for number in range(len(scans))]
    found = compared(tmp_path, scans, list(scans.loc[scans["cdr"] == 2.0, "scan_id"]), mild)
    classes = rows_of(found, next(name for name in found.rows["variable"] if "classes of" in name))
    assert "another value" in classes.index and "not known" not in classes.index


def test_difference_is_stated_where_there_is_one_and_only_there(tmp_path):
    scans = archive()
    ill = compared(tmp_path / "ill", scans, list(scans["scan_id"][scans["dementia"] == 1][:12]), DEMENTIA)
    assert "Excluded participants differ from those kept (Dementia" in ill.verdict
    assert "CDR" in ill.verdict and "Site" not in ill.verdict and "may not apply to the whole cohort" in ill.verdict
    alike = compared(tmp_path / "alike", scans, list(scans["scan_id"][10:22]), DEMENTIA)
    assert alike.verdict == "No difference was found, which with 12 excluded does not show that there is none."


def test_a_variable_that_could_not_be_tested_is_named(tmp_path):
    scans = archive()
    scans.loc[:9, "cdr"] = np.nan  # of the excluded two ratings are known
    found = compared(tmp_path, scans, list(scans["scan_id"][:12]))
    assert "No difference was found" in found.verdict and found.verdict.endswith("on a side: CDR.")
    assert "Not tested" not in compared(tmp_path, archive(), list(scans["scan_id"][10:22])).verdict


def test_two_excluded_are_counted_and_not_compared(tmp_path):
    scans = archive()
    found = compared(tmp_path, scans, list(scans["scan_id"][:2]), DEMENTIA)
    assert found.counts[0] == "After ingest, 2 of 60 participants were excluded with all their scans."
    assert "With 2 excluded after ingest, there is no comparison" in found.counts[-1]
    assert found.table is None and found.verdict is None and found.rows.empty
    three = compared(tmp_path, scans, list(scans["scan_id"][:3]), DEMENTIA)
    assert three.table is not None and "no comparison" not in " ".join(three.counts)
    assert "no comparison" not in " ".join(compared(tmp_path, scans, []).counts)
    most = compared(tmp_path, scans, list(scans["scan_id"][:58]), DEMENTIA)
    assert most.table is None and "Too few were kept" in most.counts[-1]


def test_a_participant_counts_once_and_stays_with_another_scan(tmp_path):
    scans = archive()
    second = scans[:10].assign(scan_id=[f"{person}_ses-2" for person in scans["participant_id"][:10]], age=99.0)
    lost = [*scans["scan_id"][:10], *second["scan_id"][:6]]  # six lose both scans, four keep the second
    found = compared(tmp_path, pd.concat([scans, second], ignore_index=True), lost, DEMENTIA)
    assert found.counts[0] == "After ingest, 6 of 60 participants were excluded with all their scans."
    assert found.counts[1].startswith("4 more scans were excluded, of participants who have another")
    age = rows_of(found, "Age (years)").loc["mean (SD)", "excluded"]
    assert age == f"{scans['age'][:6].mean():.1f} ({scans['age'][:6].std():.1f})", "of the first scan"
    assert rows_of(found, "Dementia")[["excluded", "kept"]].astype(int).to_numpy().sum() == 60


def test_those_excluded_at_ingest_without_a_row_are_counted_apart(tmp_path):
    scans = archive()
    ingest = pd.DataFrame(
        {
            "participant_id": ["q1", "q1", None, "p00"],
            "scan_id": ["q1_ses-1", "q1_ses-2", None, "p00_ses-2"],
            "stage": "ingest",
            "reason": "x",
        }
    )
    found = compared(tmp_path, scans, list(scans["scan_id"][:5]), DEMENTIA, ingest=ingest)
    assert "Excluded at ingest: 2 participants, whose age, sex and class are not known here" in found.counts[-1]
    assert found.counts[0].startswith("After ingest, 5 of 60 participants")
    assert "at ingest" not in " ".join(compared(tmp_path, scans, list(scans["scan_id"][:5])).counts)


def test_nothing_known_of_anybody_gives_the_columns_and_no_table(tmp_path):
    scans = archive()[["participant_id", "scan_id"]].assign(age=np.nan, sex=None)
    found = compared(tmp_path, scans, list(scans["scan_id"][:9]))
    assert found.table is None and found.rows.columns.tolist() == EXCLUDED_COLUMNS
    lone = compared(tmp_path, scans.assign(age=[50.0, *[np.nan] * 59]), list(scans["scan_id"][:9]))
    assert lone.verdict == "Nothing could be tested: too little is known of those excluded or kept."
    assert np.isnan(lone.rows["p_holm"]).all()


def test_a_seed_gives_the_same_p_value_again():
    people = archive()[["site"]]
    excluded = np.arange(60) < 15
    first, again = (excluded_against_kept(people, excluded, seed=1)["p"].iloc[0] for _ in range(2))
    assert first == again


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"), participants=20)


def study_with(original: dict, root: Path, excluded: int) -> dict:
    """A copy of a study in which that many scans of OASIS-1 more were excluded."""
    base = original["results"].parent
    for name in ("results", "data", "benchmarks", "envs"):
        shutil.copytree(base / name, root / name)
    path = root / "results" / "oasis1" / "exclusions.tsv"
    scans = read_table(root / "data" / "oasis1" / "scans.tsv")
    more = scans[["participant_id", "scan_id"]].iloc[12 : 12 + excluded].assign(stage="registration", reason="tilted")
    write_table(path, pd.concat([read_table(path), more]))
    return original | {
        key: root / value.relative_to(base) for key, value in original.items() if isinstance(value, Path)
    }


def test_page_has_the_table_its_verdict_and_its_download(original, tmp_path):
    arguments = study_with(original, tmp_path, excluded=3)
    assert report(arguments) == []
    page = (arguments["output"] / "index.html").read_text()
    assert "Excluded and kept, OASIS-1" in page and "OASIS-1: 5 participants excluded after ingest, and 13 kept" in page
    assert ("No difference was found, which with 5 excluded" in page) or ("Excluded participants differ" in page)
    assert (
        "IXI: 2 participants excluded" not in page and "2 of 20 participants were excluded with all their scans" in page
    )
    table = read_table(arguments["output"] / "tables" / "oasis1_excluded.tsv")
    assert table.columns.tolist() == EXCLUDED_COLUMNS and {"Dementia", "CDR", "Sex", "Age (years)"} <= set(
        table["variable"]
    )
    assert (
        'href="tables/oasis1_excluded.tsv"' in page
        and not (arguments["output"] / "tables" / "ixi_excluded.tsv").exists()
    )


def test_a_lost_table_is_boxed_and_the_rest_of_the_page_stands(original, tmp_path):
    arguments = study_with(original, tmp_path, excluded=3)
    (arguments["data"] / "oasis1" / "scans.tsv").unlink()
    missing = report(arguments)
    assert "data/oasis1/scans.tsv" in {item.file for item in missing}
    page = (arguments["output"] / "index.html").read_text()
    assert "Excluded and kept, OASIS-1" not in page and "Excluded and kept, IXI" in page
