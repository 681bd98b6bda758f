"""The page's statements on the whole study, each of which depends on what the run left: whom the results are of, and what a
rerun gives."""

from neurocohort.report import labels
from neurocohort.report.gates import LEAKS
from neurocohort.text import listed
from neurocohort.report.sources import Missing
from neurocohort.study.members import transfer_chain


def unseen_sentence(described: list[dict], experiments: dict[str, dict]) -> str:
    """Whom the results are of: a claim only where every experiment's check of the split found nothing.

    ``described``: the experiments as the page describes them, with ``split``; ``experiments``: the configuration's.
    """
    checks = [one["split"] for one in described]
    leaks = [
        one["title"]
        for one in described
        if not isinstance(one["split"], Missing) and any(one["split"][key] for key in LEAKS)
    ]
    if leaks:
        return f"Something is on two sides of the split of {listed(leaks)}: read the section Split before any result."
    if any(isinstance(check, Missing) or check["missing"] for check in checks):
        return "Whether results are of participants that no training saw could not be checked: see the section Split."
    if given := given_weights(experiments):
        return (
            f"The results are of participants outside the training of this study. Which participants the given weights of "
            f"{listed(given)} were trained on is not known to the workflow."
        )
    return "Every result is of participants that the networks behind it were not trained on."


def given_weights(experiments: dict[str, dict]) -> list[str]:
    """The experiments, in words, whose training started from a file of the user's, directly or through another experiment."""
    first = {name: transfer_chain(experiments, name)[-1] for name in experiments}
    return [labels.in_text(name) for name, origin in first.items() if experiments[origin].get("transfer")]


def rerun_sentence(provenance: dict) -> str:
    """What a rerun with the record of this page gives, and what speaks against it."""
    against = []
    git, packages = provenance["git"], provenance["packages"] or []
    if not git:
        against.append("the code was in no git checkout")
    elif git["dirty"]:
        against.append("the code had uncommitted changes")
    if not provenance["command"]:
        against.append("the command was not recorded")
    if not packages:
        against.append("the lock is missing")
    # A build of the same version, such as torch's for the CPU, is the locked version.
    other = sum((package["installed"] or "").partition("+")[0] != package["locked"] for package in packages)
    if other:
        against.append(
            f"{labels.counted(other, 'package')} of the lock {'is' if other == 1 else 'are'} not installed in the locked version"
        )
    if against:
        return f"What a rerun needs is below, but {listed(against)}: it may give other numbers."
    devices = {str(run["device"]) for run in provenance["runs"] if run.get("device")}
    if devices == {"cpu"}:
        return (
            "With the same inputs, commit, command, configuration and packages, a rerun on the same machine gives the same "
            "numbers."
        )
    return "What a rerun needs is below. Networks that are trained again on a GPU give slightly other numbers."
