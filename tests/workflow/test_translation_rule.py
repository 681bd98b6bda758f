"""The study of translations: each is trained and tested by one job, and neither baselines of variables nor bundles are made."""

from checkouts import copy_checkout


def test_dry_run_tests_each_translation_once(repository, tmp_path):
    checkout = copy_checkout(repository, tmp_path)
    jobs = checkout.would_run("--configfile", "tests/studies/translation.yaml", "--", "everything")
    wanted = {"select_training": 2, "train": 2, "select": 2, "translate": 2, "report": 1}
    assert {rule: jobs[rule] for rule in wanted} == wanted
    assert not {"predict", "baselines", "metrics", "bundle", "saliency"} & set(jobs)
