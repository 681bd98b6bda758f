"""The study of a generative model: each of its jobs runs once, and those that use the device ask for it."""

from checkouts import copy_checkout


def test_dry_run_trains_draws_compares_and_changes_scans_once(repository, tmp_path):
    checkout = copy_checkout(repository, tmp_path)
    jobs = checkout.would_run("--configfile", "tests/studies/generation.yaml", "--", "all")
    wanted = {"train": 1, "train_generator": 1, "generate": 1, "train_on_generated": 1, "generation": 1}
    wanted |= {"counterfactual": 1, "report": 1}
    assert {rule: jobs[rule] for rule in wanted} == wanted
