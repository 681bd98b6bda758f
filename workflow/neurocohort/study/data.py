"""Checks of an experiment against the values in its cohorts: target, classes, filter and sites must exist.

For local cohorts every value is known before anything runs; for public ones, the values of categorical variables.
"""

from collections.abc import Iterable, Iterator

from neurocohort.dataset.class_values import (
    few_values,
    listed_classes,
    sorted_texts,
    spelt_as_found,
    undecided,
    value_text,
)
from neurocohort.dataset.filters import compile_filter, named_values
from neurocohort.errors import InputError
from neurocohort.study.cohorts import Row, Survey
from neurocohort.study.messages import did_you_mean, listed

MIN_PARTICIPANTS = 3


def data_faults(key: str, experiment: dict, surveys: dict[str, Survey]) -> Iterator[str]:
    """Yield a sentence for each value that an experiment needs and that no scan of its cohorts has.

    Args:
        key: Dotted key of the experiment.
        experiment: Its configuration.
        surveys: What is known about each configured cohort.
    """
    names = [*experiment["cohorts"], *experiment["external"]]
    if not all(name in surveys for name in names):
        return
    own = {name: surveys[name] for name in names if not _only_predicted(experiment, name, surveys[name])}
    faults = [*_filter_faults(key, experiment, own), *_target_faults(key, experiment, own)]
    yield from faults
    if not faults:
        faults = [*_emptied_faults(key, experiment, own)]
        yield from faults
    if not faults:
        yield from _too_few_faults(key, experiment, own)
    yield from _class_faults(key, experiment, own)
    yield from _site_faults(key, experiment, {name: own[name] for name in experiment["cohorts"]})


def _only_predicted(experiment: dict, cohort: str, survey: Survey) -> bool:
    """Whether the networks are applied to a cohort without metrics: an external one without a value of the target."""
    target = experiment["target"]
    if cohort not in experiment["external"] or experiment["task"] == "segmentation":
        return False
    return target not in survey.kinds or (survey.rows is not None and not _with_target(survey.rows, target))


def _target_faults(key: str, experiment: dict, surveys: dict[str, Survey]) -> Iterator[str]:
    target = experiment["target"]
    for name, survey in surveys.items():
        if target in survey.kinds and survey.rows is not None and not _with_target(survey.rows, target):
            yield (
                f"`{key}.target` is `{target}`, and none of the {len(survey.rows)} scans of `{name}` has a value of it: "
                f"{survey.why_missing.get(target, 'its cells are empty')} Correct that column, or choose another target."
            )


def _filter_faults(key: str, experiment: dict, surveys: dict[str, Survey]) -> Iterator[str]:
    """Values in a filter that no scan has, which are usually misspelt."""
    try:
        compared = [*named_values(experiment["filter"])] if experiment["filter"].strip() else []
    except InputError:
        return  # another check reports a filter that can't be read
    for variable, values in compared:
        found = _values_of_all(surveys.values(), variable)
        texts = [value_text(float(value) if isinstance(value, int) else value) for value in values]
        if found and not found & set(texts):
            yield (
                f"`{key}.filter` compares {variable} with {listed(map(repr, values))}, which no scan has; the values are "
                f"{few_values(sorted_texts(found))}{did_you_mean(texts[0], found) or '.'}"
            )


def _emptied_faults(key: str, experiment: dict, surveys: dict[str, Survey]) -> Iterator[str]:
    """Cohorts in which the filter leaves no scan to train or test on."""
    if not experiment["filter"].strip():
        return
    try:
        holds = compile_filter(experiment["filter"])
        for name, survey in surveys.items():
            if survey.rows and not _with_target([row for row in survey.rows if holds(row)], experiment["target"]):
                having = f" that have a value of `{experiment['target']}`" if experiment["target"] else ""
                yield (
                    f"`{key}.filter` is `{experiment['filter']}`, which leaves none of the {len(survey.rows)} scans of `{name}`"
                    f"{having}; change it, or leave the cohort out."
                )
    except InputError as error:
        yield f"`{key}.filter`: {error}"


def _too_few_faults(key: str, experiment: dict, surveys: dict[str, Survey]) -> Iterator[str]:
    """Cohorts with too few participants to split, or with a single value of the target, from which nothing can be learned."""
    target, trained = experiment["target"], [surveys[name] for name in experiment["cohorts"]]
    if any(survey.rows is None or (target and target not in survey.kinds) for survey in trained):
        return
    holds = compile_filter(experiment["filter"]) if experiment["filter"].strip() else lambda row: True
    rows = [row for survey in trained for row in _with_target(survey.rows, target) if holds(row)]
    if (people := len({row["participant_id"] for row in rows})) < MIN_PARTICIPANTS:
        having = f" with a value of `{target}`" if target else ""
        yield (
            f"`{key}.cohorts` have {people} participant(s){having}, expected at least "
            f"{MIN_PARTICIPANTS}, one each to train, to validate and to test on; add scans, or make these cohorts external."
        )
        return
    values = {value_text(row[target]) for row in rows} if target else set()
    if experiment["task"] == "regression" and len(values) == 1:
        yield (
            f"`{key}.target` is `{target}`, which is {values.pop()} in all {len(rows)} scans of `{key}.cohorts`, so nothing can "
            "be learned from it; choose another target, or other cohorts."
        )
    for given in listed_classes(experiment.get("classes") or []):
        texts = {spelt_as_found(str(value), values) for value in given}
        elsewhere = any((known := _values_of(survey, target)) is None or texts & known for survey in surveys.values())
        if elsewhere and not texts & values:  # classes that no cohort has are another fault
            yield (
                f"`{key}.classes` has {' or '.join(map(repr, sorted(texts)))}, which no scan to train on has as {target}; the "
                f"values there are {few_values(sorted_texts(values))}. Check the filter, or choose other cohorts."
            )


def _class_faults(key: str, experiment: dict, surveys: dict[str, Survey]) -> Iterator[str]:
    target = experiment["target"]
    if experiment["task"] != "classification" or target not in set().union(
        *(survey.kinds for survey in surveys.values())
    ):
        return
    if not (found := sorted_texts(_values_of_all(surveys.values(), target) or ())):
        return
    if not experiment.get("classes"):
        if target != "sex" and (fault := undecided(found, target)):
            yield f"`{key}`: {fault}"
        return
    for values in listed_classes(experiment["classes"]):
        given = [spelt_as_found(str(value), found) for value in values]
        if not set(given) & set(found):
            yield (
                f"`{key}.classes` has {' or '.join(map(repr, given))}, which no scan has as {target}; the values are "
                f"{few_values(found)}{did_you_mean(given[0], found) or '.'}"
            )


def _site_faults(key: str, experiment: dict, surveys: dict[str, Survey]) -> Iterator[str]:
    if (found := _values_of_all(surveys.values(), "site")) is None:
        return
    for site in experiment["leave_one_site_out"]:
        if site not in found:
            yield (
                f"`{key}.leave_one_site_out` has `{site}`, which no scan of `{key}.cohorts` has as its site; the sites are "
                f"{few_values(sorted_texts(found))}{did_you_mean(site, found) or '.'}"
            )


def _values_of(survey: Survey, variable: str) -> set[str] | None:
    """The values of a variable in one cohort, as texts; None if they aren't known."""
    if survey.rows is None:
        return set(survey.levels[variable]) if variable in survey.levels else None
    return {value_text(row[variable]) for row in survey.rows if row.get(variable) is not None}


def _values_of_all(surveys: Iterable[Survey], variable: str) -> set[str] | None:
    """The values of a variable in all cohorts that have it; None if those of one aren't known."""
    known = [_values_of(survey, variable) for survey in surveys if variable in survey.kinds]
    return None if None in known else set().union(*filter(None, known))


def _with_target(rows: list[Row] | None, target: str) -> list[Row]:
    """The rows with a value of ``target``; all of them for a pretraining, which has none."""
    if not target:
        return list(rows or ())
    return [row for row in rows or () if row.get(target) is not None]
