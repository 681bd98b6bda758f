"""Checks of the auxiliary variables of an experiment."""

from collections.abc import Iterator

from neurocohort.settings.selection import WITH_VALUES
from neurocohort.sources.variable_kinds import NUMBER, TWO_CLASSES
from neurocohort.study.messages import did_you_mean, listed


def auxiliary_faults(key: str, experiment: dict, kinds: dict[str, dict[str, str | None]]) -> Iterator[str]:
    """Yield a sentence for each auxiliary variable that can't be learned.

    Args:
        key: Dotted key of the experiment.
        experiment: Its configuration.
        kinds: By cohort of the experiment, the kind of each of its variables; None if the kind isn't known.
    """
    names, task = experiment.get("auxiliary") or {}, experiment["task"]
    if names and task not in WITH_VALUES:
        yield f"`{key}.auxiliary` is for regression and classification, and this experiment's task is {task}; leave it out."
        return
    trained = [kinds[name] for name in experiment["cohorts"] if name in kinds]
    fitting = sorted({name for own in trained for name, kind in own.items() if kind in (NUMBER, TWO_CLASSES)})
    for name in names:
        found = [own[name] for own in trained if name in own]
        if name == experiment["target"]:
            yield f"`{key}.auxiliary` names `{name}`, which is the target; leave it out."
        elif not found:
            yield (
                f"`{key}.auxiliary` names `{name}`, which no cohort that is trained on has; numbers and two classes are "
                f"{listed(fitting)}{did_you_mean(name, fitting) or '.'}"
            )
        elif unfit := [kind for kind in found if kind not in (NUMBER, TWO_CLASSES, None)]:
            yield f"`{key}.auxiliary` names `{name}`, which is {unfit[0]}; expected a number or two classes: {listed(fitting)}."
