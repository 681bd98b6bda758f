"""Scans without a label map in the workflow: selected before the training, guarded before the test, and compared at the end."""

import yaml
from checkouts import copy_checkout


def test_dry_run_trains_with_and_without_scans_that_have_no_label_map(repository, tmp_path):
    checkout = copy_checkout(repository, tmp_path)
    config = yaml.safe_load(checkout.path("config/config.yaml").read_text(encoding="utf-8"))
    tissue = config["experiments"]["tissue"] | {"semi_supervised": {"labelled": 6}}
    config["experiments"] = {"tissue": tissue}
    checkout.path("config/few.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    jobs = checkout.would_run("--configfile", "config/few.yaml", "--", "everything")
    wanted = {"select_training": 2, "select_unlabelled": 1, "select": 2, "train": 2, "metrics": 2, "few_labels": 1}
    assert {rule: jobs[rule] for rule in wanted} == wanted and jobs["bundle"] == 1
