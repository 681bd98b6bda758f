"""The sessions of a longitudinal analysis: which ones are inputs, in which order, and what is predicted of each participant."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from neurocohort.dataset.class_values import few_values
from neurocohort.dataset.filters import compile_filter
from neurocohort.dataset.leakage import check_no_leakage
from neurocohort.dataset.samples import CohortTables, empty_parts
from neurocohort.dataset.split import EXCLUDED
from neurocohort.dataset.targets import SEX_CLASSES, target_values
from neurocohort.errors import InputError
from neurocohort.settings.longitudinal import YEARS_OF_UNIT, Longitudinal

PERSON = ["cohort", "participant_id"]
KEPT = ["cohort", "participant_id", "session_id", "scan_id", "part", "site", "age", "sex", "voxels_sha256"]
CLASSIFICATION = "classification"


@dataclass(frozen=True)
class Sessions:
    """The sessions of an analysis.

    Args:
        table: A row for each session, by participant and time: `KEPT`, the variables of the analysis, ``years`` (since the first
            session), ``gap_years`` (since the previous one; 0 for the first) and ``target`` (of the participant).
        flow: cohort, step, and the sessions and participants that are left after the step.
        notes: What a person should know, as sentences.
    """

    table: pd.DataFrame
    flow: pd.DataFrame
    notes: list[str]


def select_sessions(cohorts: Mapping[str, CohortTables], wanted: Longitudinal) -> Sessions:
    """Select the sessions that are inputs, and compute the target of each participant.

    Args:
        cohorts: The tables of the analysis' cohorts, by name.
        wanted: The settings.

    Raises:
        InputError: If a variable is absent or no number, a session has no time, a participant has several values of the target,
            a part is empty, training has one class only, or something leaks (`check_no_leakage`).
    """
    rows = pd.concat([_rows(name, tables, wanted) for name, tables in cohorts.items()], ignore_index=True)
    rows["target"] = _targets(rows, {name: tables["scans"] for name, tables in cohorts.items()}, wanted)
    flow: list[dict] = []

    def keep(kept: pd.DataFrame, step: str) -> pd.DataFrame:
        for name in cohorts:
            people = kept.loc[kept["cohort"] == name, "participant_id"]
            flow.append({"cohort": name, "step": step, "sessions": len(people), "participants": people.nunique()})
        return kept

    keep(rows, "ingested")
    rows = keep(rows[rows["status"] == "ok"], "preprocessed and of sufficient quality")
    if (rows["part"] == EXCLUDED).any():
        rows = keep(rows[rows["part"] != EXCLUDED], "not excluded by the split file")
    if wanted.filter:
        rows = keep(rows[rows["kept_by_filter"]], f"filter: {wanted.filter}")
    rows = _in_order(rows, wanted)
    if wanted.change_per_year:
        rows = keep(_before_last_value(rows), f"with a value of {wanted.target}, and before another one")
    else:
        rows = keep(rows[rows["target"].notna()], f"with a value of {wanted.target}")
    if wanted.outcome_time:
        before = ~(rows["time_years"] >= rows["outcome_years"])
        rows = keep(rows[before], f"before {wanted.outcome_time}")
    enough = rows.groupby(PERSON)["scan_id"].transform("size") >= wanted.min_sessions
    if wanted.min_sessions > 1:
        rows = keep(rows[enough], f"of participants with {wanted.min_sessions} sessions or more")
    rows = rows.reset_index(drop=True)
    first = rows.groupby(PERSON)["time_years"]
    rows["years"] = rows["time_years"] - first.transform("min")
    rows["gap_years"] = first.diff().fillna(0.0)
    _check(rows, wanted)
    names = [name for name in wanted.variables if name not in KEPT]
    table = rows[[*KEPT, *names, "years", "gap_years", "target"]]
    return Sessions(table, pd.DataFrame(flow), list(_notes(rows, wanted)))


def numbers(table: pd.DataFrame, name: str, cohort: str) -> pd.Series:
    """A column as numbers, sex as F = 0 and M = 1. Raises InputError where it is absent or has texts."""
    place = f"data/{cohort}/scans.tsv"
    if name not in table:
        raise InputError(
            f"{place} has no column `{name}`, which a longitudinal analysis names; expected one of its columns."
        )
    values = table[name].map(SEX_CLASSES) if name == "sex" else table[name]
    if name != "sex" and not pd.api.types.is_numeric_dtype(values) and values.notna().any():
        found = few_values(sorted(map(str, values.dropna().unique())))
        raise InputError(
            f"the column `{name}` of {place} has {found}; a longitudinal analysis needs numbers there. Choose another variable."
        )
    return values.astype(float)


def _rows(cohort: str, tables: CohortTables, wanted: Longitudinal) -> pd.DataFrame:
    """A row per session with its part, status, time and variables as numbers."""
    scans = tables["scans"].reset_index(drop=True)
    qc, split = tables["qc"].set_index("scan_id"), tables["split"].set_index("participant_id")
    scale = YEARS_OF_UNIT[wanted.time_unit]
    rows = scans[[name for name in KEPT if name in scans]].assign(
        cohort=cohort,
        part=scans["participant_id"].map(split["part"]),
        status=scans["scan_id"].map(qc["status"]),
        time_years=numbers(scans, wanted.time, cohort) * scale,
    )
    if wanted.outcome_time:
        of_session = numbers(scans, wanted.outcome_time, cohort) * scale
        rows["outcome_years"] = _of_person(rows, of_session, wanted.outcome_time)
    if wanted.change_per_year:
        rows["value"] = numbers(scans, wanted.target, cohort)
    for name in wanted.variables:
        if name not in KEPT:
            rows[name] = numbers(scans, name, cohort)
    if wanted.filter:
        kept = map(compile_filter(wanted.filter), scans.to_dict("records"))
        rows["kept_by_filter"] = pd.Series(list(kept), index=rows.index, dtype=bool)
    partless = sorted(set(rows.loc[rows["part"].isna(), "participant_id"]))
    if partless:
        raise InputError(
            f"results/{cohort}/split.tsv lacks {len(partless)} participant(s) of data/{cohort}/scans.tsv: "
            f"{few_values(partless)}. Delete it and run again."
        )
    return rows


def _targets(rows: pd.DataFrame, scans: dict[str, pd.DataFrame], wanted: Longitudinal) -> pd.Series:
    """The target of each row's participant, whichever session has it; missing where no session has."""
    if wanted.change_per_year:
        return pd.Series(float("nan"), index=rows.index)  # follows from the order of the sessions
    values = target_values(scans, wanted.task, wanted.target)
    for name, table in scans.items():
        if wanted.target not in table:
            raise InputError(
                f"data/{name}/scans.tsv has no column `{wanted.target}`, the target of a longitudinal analysis."
            )
    found = pd.concat([values[name].reset_index(drop=True) for name in scans], ignore_index=True).astype(float)
    return _of_person(rows, found, wanted.target)


def _of_person(rows: pd.DataFrame, values: pd.Series, name: str) -> pd.Series:
    """The only value of each participant. Raises InputError where a participant has several."""
    grouped = values.groupby([rows[column] for column in PERSON])
    several = sorted(set(rows.loc[grouped.transform("nunique") > 1, "participant_id"]))
    if several:
        raise InputError(
            f"{len(several)} participant(s) have several values of `{name}` in their sessions: {few_values(several)}; expected "
            "the same value, or none, in each session of a participant. Make a variable with one value for each; for the change "
            "of a number write `change_per_year: true`."
        )
    return grouped.transform("first")


def _in_order(rows: pd.DataFrame, wanted: Longitudinal) -> pd.DataFrame:
    timeless = sorted(rows.loc[rows["time_years"].isna(), "scan_id"])
    if timeless:
        raise InputError(
            f"{len(timeless)} session(s) have no value of `{wanted.time}`, the `time` of a longitudinal analysis: "
            f"{few_values(timeless)}. Complete the table, name another variable, or leave these sessions out, for example by "
            f"`filter: {wanted.time} >= 0`."
        )
    return rows.sort_values([*PERSON, "time_years", "session_id"]).reset_index(drop=True)


def _before_last_value(rows: pd.DataFrame) -> pd.DataFrame:
    """The sessions before the last one with a value, with the yearly change of the value up to it as the target."""
    known = rows[rows["value"].notna()].set_index(PERSON)
    last = known[~known.index.duplicated(keep="last")]
    people = pd.MultiIndex.from_frame(rows[PERSON])
    end = last["time_years"].reindex(people).to_numpy()
    inputs = rows[rows["time_years"].to_numpy() < end]
    known = inputs[inputs["value"].notna()].set_index(PERSON)
    previous = known[~known.index.duplicated(keep="last")]
    # A participant without two values has no change.
    change = (last["value"] - previous["value"]) / (last["time_years"] - previous["time_years"])
    found = inputs.assign(target=change.reindex(pd.MultiIndex.from_frame(inputs[PERSON])).to_numpy())
    return found[found["target"].notna()]


def _check(rows: pd.DataFrame, wanted: Longitudinal) -> None:
    for part, _ in empty_parts(rows, [0]):
        raise InputError(
            f"no session is left in the part {part!r} for the longitudinal target `{wanted.target}`; expected participants in "
            "every part. Use a larger cohort, another filter, fewer `min_sessions`, or other fractions under `split`."
        )
    check_no_leakage(rows)
    learned = rows.loc[rows["part"] == "train"].drop_duplicates(PERSON)["target"]
    if learned.nunique() < 2:
        raise InputError(
            f"all {len(learned)} training participants have the same value of `{wanted.target}`, {learned.iloc[0]:g}; expected "
            "several. Use a larger cohort or another target."
        )


def _notes(rows: pd.DataFrame, wanted: Longitudinal):
    people = rows.groupby(PERSON)
    single = int((people.size() == 1).sum())
    if single:
        yield (
            f"{single} of {people.ngroups} participants have a single session; all models use it alone. `min_sessions: 2` leaves "
            "these participants out."
        )
    ties = int((rows["gap_years"].eq(0) & people.cumcount().gt(0)).sum())
    if ties:
        yield f"{ties} session(s) have the time of the participant's previous session, so that their order is that of session_id."
    if wanted.task == CLASSIFICATION and not wanted.outcome_time:
        yield (
            f"No `outcome_time` is given: sessions after the outcome `{wanted.target}` may be among the inputs, and a prediction "
            "from them is no forecast."
        )
    undated = wanted.outcome_time and wanted.task == CLASSIFICATION
    if undated and (
        count := int(
            (rows["target"].eq(1) & rows["outcome_years"].isna()).groupby([rows[c] for c in PERSON]).any().sum()
        )
    ):
        yield (
            f"{count} participant(s) of class 1 have no `{wanted.outcome_time}`: their sessions may be after the outcome, and a "
            "prediction from them is no forecast."
        )
