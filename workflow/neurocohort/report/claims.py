"""The page's statements on the whole study: which participants the results are of, and what a rerun gives."""

from collections.abc import Mapping

from neurocohort.report import labels
from neurocohort.report.development import TESTED_ONCE
from neurocohort.report.participants import SplitCheck
from neurocohort.report.provenance import Provenance
from neurocohort.report.sources import Missing
from neurocohort.study.members import starts_published, transfer_chain
from neurocohort.text import listed


def unseen_sentence(splits: Mapping[str, SplitCheck | Missing], experiments: dict[str, dict]) -> str:
    """A sentence on whether training saw the participants of the results.

    Args:
        splits: By heading of each experiment, the check of its split.
        experiments: That block of the configuration.
    """
    if not experiments:
        return "Nothing was trained in this study."
    leaks = [heading for heading, split in splits.items() if not isinstance(split, Missing) and split.leaks]
    if leaks:
        return (
            f"Participants or images are in two parts of the split of {listed(leaks)}: read the section Split before any "
            "result."
        )
    if any(isinstance(split, Missing) or split.missing for split in splits.values()):
        return "It could not be checked whether training saw the tested participants: see the section Split."
    if origins := _weights_sentences(experiments):
        return " ".join(["The results are of participants who were not in the training data of this study.", *origins])
    checks = [split for split in splits.values() if not isinstance(split, Missing)]
    if any(labels.PARTS[TESTED_ONCE] in dict(split.counts) for split in checks):
        return "All results are of participants on whom the networks that predicted them were not trained."
    return "All results are of participants on whom the networks were not trained."


def given_weights(experiments: dict[str, dict]) -> list[str]:
    """The titles of the experiments whose training started from a file of the user's, directly or through another experiment."""
    first = {
        name: transfer_chain(experiments, name)[-1] for name in experiments if not starts_published(experiments, name)
    }
    return [labels.in_text(name) for name, origin in first.items() if experiments[origin].get("transfer")]


def _weights_sentences(experiments: dict[str, dict]) -> list[str]:
    """What is known of the participants on whom the weights were trained that experiments started from."""
    sentences = []
    if given := given_weights(experiments):
        sentences.append(
            f"The workflow does not know on which participants the given weights of {listed(given)} were trained."
        )
    if published := [labels.in_text(name) for name in experiments if starts_published(experiments, name)]:
        sentences.append(
            f"The published weights of {listed(published)} were trained on participants of UK Biobank. As far as is known, none "
            "of them is in IXI or OASIS-1; other cohorts were not checked."
        )
    return sentences


def rerun_sentence(provenance: Provenance) -> str:
    """A sentence on whether a rerun with the record of this page gives the same numbers."""
    reasons = []
    packages = provenance.packages or ()
    if not provenance.git:
        reasons.append("the code was in no git checkout")
    elif provenance.git.dirty:
        reasons.append("the code had uncommitted changes")
    if not provenance.command:
        reasons.append("the command was not recorded")
    if not packages:
        reasons.append("the lock file is missing")
    # A build of the same version, such as torch's for the CPU, is the locked version.
    other = sum((package.installed or "").partition("+")[0] != package.locked for package in packages)
    if other:
        reasons.append(
            f"{labels.counted(other, 'package')} of the lock file {'is' if other == 1 else 'are'} not installed in that version"
        )
    if reasons:
        return f"The record for a rerun is below, but {listed(reasons)}. A rerun may give different numbers."
    if provenance.devices == ["cpu"]:
        return (
            "With the same inputs, commit, command, configuration and packages, a rerun on the same machine gives the same "
            "numbers."
        )
    return "The record for a rerun is below. Networks that are trained again on a GPU give slightly different numbers."
