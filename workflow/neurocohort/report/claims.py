"""Two statements of the page on the whole study: whether training saw the tested participants, and what a rerun gives."""

from neurocohort.report import labels
from neurocohort.report.gates import LEAKS
from neurocohort.report.sources import Missing
from neurocohort.study.members import transfer_chain
from neurocohort.text import listed


def unseen_sentence(described: list[dict], experiments: dict[str, dict]) -> str:
    """Whether training saw the tested participants; a claim only where the check of every split found no leak.

    Args:
        described: The experiments as the page describes them, with ``split``.
        experiments: The experiments of the configuration.
    """
    checks = [one["split"] for one in described]
    leaks = [
        one["title"]
        for one in described
        if not isinstance(one["split"], Missing) and any(one["split"][key] for key in LEAKS)
    ]
    if leaks:
        return f"Something is in two parts of the split of {listed(leaks)}: read the section Split before any result."
    if any(isinstance(check, Missing) or check["missing"] for check in checks):
        return "It could not be checked whether training saw the tested participants: see the section Split."
    if given := given_weights(experiments):
        return (
            "The results are of participants who were not in the training data of this study. The workflow does not know on "
            f"which participants the given weights of {listed(given)} were trained."
        )
    return "Every result is of participants on whom its networks were not trained."


def given_weights(experiments: dict[str, dict]) -> list[str]:
    """The titles of experiments whose training started from a user's file, directly or through another experiment."""
    first = {name: transfer_chain(experiments, name)[-1] for name in experiments}
    return [labels.in_text(name) for name, origin in first.items() if experiments[origin].get("transfer")]


def rerun_sentence(provenance: dict) -> str:
    """What a rerun gives, and the reasons against equal numbers.

    Args:
        provenance: The record of `provenance.collect`.
    """
    reasons = []
    git, packages = provenance["git"], provenance["packages"] or []
    if not git:
        reasons.append("the code was in no git checkout")
    elif git["dirty"]:
        reasons.append("the code had uncommitted changes")
    if not provenance["command"]:
        reasons.append("the command was not recorded")
    if not packages:
        reasons.append("the lock file is missing")
    # A build of the same version, such as torch's for the CPU, is the locked version.
    other = sum((package["installed"] or "").partition("+")[0] != package["locked"] for package in packages)
    if other:
        reasons.append(
            f"{labels.counted(other, 'package')} of the lock file {'is' if other == 1 else 'are'} not installed in that version"
        )
    if reasons:
        return f"The record for a rerun is below, but {listed(reasons)}. A rerun may give different numbers."
    devices = {str(run["device"]) for run in provenance["runs"] if run.get("device")}
    if devices == {"cpu"}:
        return (
            "With the same inputs, commit, command, configuration and packages, a rerun on the same machine gives the same "
            "numbers."
        )
    return "The record for a rerun is below. Networks that are trained again on a GPU give slightly different numbers."
