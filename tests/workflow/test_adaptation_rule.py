"""The study of adaptation to an unseen site: one key compares all methods, and only networks of left-out sites are adapted."""

import pytest
from checkouts import copy_checkout


def test_dry_run_adapts_and_compares_the_networks_of_each_left_out_site(repository, tmp_path):
    pytest.importorskip("combatlearn", reason="the study harmonises baselines by ComBat")
    checkout = copy_checkout(repository, tmp_path)
    jobs = checkout.would_run("--configfile", "tests/studies/adaptation.yaml", "--", "everything")
    assert [jobs[rule] for rule in ("train", "predict", "metrics", "adapt", "adaptation", "bundle")] == [
        9,
        9,
        9,
        2,
        1,
        3,
    ]
