"""The study of a second site: one key trains every point of its learning curve."""

from checkouts import copy_checkout


def test_dry_run_has_a_training_for_each_point_of_the_learning_curve(repository, tmp_path):
    checkout = copy_checkout(repository, tmp_path)
    jobs = checkout.would_run("--configfile", "tests/studies/second_site.yaml", "--", "everything")
    # The source; and with 10, 20 and all participants, from its weights and from random ones.
    assert [jobs[rule] for rule in ("train", "predict", "metrics", "learning_curve", "bundle")] == [7, 7, 7, 1, 2]
