"""No bad BIDS tree is wrong silently: it is refused, an odd session is excluded, or a note says what was decided."""

from bad_trees import TREES
from neurocohort.sources.bids import ingest_bids
from outcomes import what_is_wrong

KIND = "Bad BIDS tree"


def test_trees_of_a_users_own_cohort(tmp_path, record_property):
    assert len(TREES) >= 20
    wrong = {}
    for number, (name, tree) in enumerate(TREES.items()):
        source = tmp_path / str(number) / "study"
        tree.write(source)
        problem = what_is_wrong(
            lambda data, source=source, run=tree.run: ingest_bids(source, data, run=run),
            source.parent / "data",
            tree.must,
        )
        if problem:
            wrong[name] = problem
    record_property("tries", len(TREES))
    record_property("lost", len(wrong))
    assert not wrong, "\n".join(f"{name}: {problem}" for name, problem in wrong.items())
