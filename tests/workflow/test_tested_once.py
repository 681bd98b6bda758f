"""A study in which everybody is held out once: what tests a participant does not depend on this participant's target."""

import pandas as pd
import pytest
from checkouts import Checkout, copy_checkout
from neurocohort.files import read_json, sha256_of

STUDY = "tests/studies/tested_once.yaml"
EXPERIMENTS = ("brain_age", "sex", "tissue")
TESTED = 1  # the test fold whose participants get other targets

pytestmark = pytest.mark.slow


def table(checkout: Checkout, name: str) -> pd.DataFrame:
    return pd.read_csv(checkout.path(name), sep="\t", na_values=["n/a"], keep_default_na=False)


def networks(checkout: Checkout, experiment: str) -> dict[str, tuple]:
    """Weights and kept epoch of each network, also of the draws of a sweep, by its folder."""
    folder = checkout.path(f"results/experiments/{experiment}")
    found = {}
    for weights in sorted(folder.rglob("model.safetensors")):
        run = read_json(weights.parent / "run.json")
        found[weights.parent.relative_to(folder).as_posix()] = sha256_of(weights), run["best_epoch"], run["criterion"]
    return found


def validated(checkout: Checkout, experiment: str) -> pd.DataFrame:
    """The validation rows of a test fold, from which its threshold and its line of bias correction are fitted."""
    rows = table(checkout, f"results/experiments/{experiment}/predictions.tsv")
    own = rows[(rows["part"] == "validation") & (rows["test_fold"] == TESTED)]
    return own[["scan_id", "target", "prediction"]].reset_index(drop=True)


@pytest.fixture(scope="module")
def finished(repository, tmp_path_factory) -> Checkout:
    checkout = copy_checkout(repository, tmp_path_factory.mktemp("tested_once"))
    checkout.snakemake("--configfile", STUDY, "--quiet", "rules")
    return checkout


def test_everybody_is_tested_once_and_the_report_says_so(finished):
    for name in EXPERIMENTS:
        folder = f"results/experiments/{name}"
        samples = table(finished, f"{folder}/samples.tsv")
        tested = samples[samples["part"] != "external"]
        rows = table(finished, f"{folder}/predictions.tsv")
        held_out = rows[rows["part"] == "held-out"].drop_duplicates("scan_id")
        assert sorted(held_out["scan_id"]) == sorted(tested["scan_id"])
        metrics = table(finished, f"{folder}/metrics.tsv")
        whole = metrics[(metrics["part"] == "held-out") & (metrics["group"] == "all")]
        assert set(whole["n"]) == {tested["participant_id"].nunique()}
    assert "held out once" in finished.path("results/report/index.html").read_text().lower()


def test_no_file_of_a_training_has_a_participant_of_its_test_fold(finished):
    split = table(finished, "results/oasis1/split.tsv")
    for number in (1, 2):
        people = set(split.loc[split["test_fold"] == number, "participant_id"])
        for name in EXPERIMENTS:
            seen = table(finished, f"results/experiments/{name}/training/test-{number}/samples.tsv")
            assert len(seen) and not people & set(seen["participant_id"]) and f"test-{number}" not in set(seen["pack"])


def test_other_targets_in_a_test_fold_change_nothing_of_what_tests_it(finished):
    before = {name: networks(finished, name) for name in ("brain_age", "sex")}
    fitted = {name: validated(finished, name) for name in before}
    draws = table(finished, "results/experiments/brain_age/sweep/sweep.tsv")
    split = table(finished, "results/oasis1/split.tsv")
    people = set(split.loc[split["test_fold"] == TESTED, "participant_id"])
    path = finished.path("data/oasis1/scans.tsv")
    scans = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    own = scans["participant_id"].isin(people)
    for column in ("age", "sex"):
        scans.loc[own, column] = scans.loc[own, column].to_numpy()[::-1]
    scans.to_csv(path, sep="\t", index=False)
    splits = [finished.path("results/oasis1/split.tsv")]
    contents = [one.read_bytes() for one in splits]
    finished.snakemake("--configfile", STUDY, "--quiet", "rules", "--rerun-triggers", "mtime", "--", "evaluate")
    assert [one.read_bytes() for one in splits] == contents, "existing assignments never change"

    changed = 0
    for name, known in before.items():
        after = networks(finished, name)
        for folder, values in known.items():
            if f"test-{TESTED}_" in folder:
                assert after[folder] == values, f"{name} {folder}"
            else:
                changed += after[folder] != values
        pd.testing.assert_frame_equal(validated(finished, name), fitted[name])
    assert changed, "the other test fold is trained on these participants"
    again = table(finished, "results/experiments/brain_age/sweep/sweep.tsv")
    rows = [frame[frame["test_fold"] == TESTED].reset_index(drop=True) for frame in (draws, again)]
    pd.testing.assert_frame_equal(*rows)
