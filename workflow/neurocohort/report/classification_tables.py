"""The tables of a classification of two classes: its operating point, calibration, by clinical dementia rating, people of similar
age, and the confusion matrix (of more classes too)."""

import pandas as pd

from neurocohort.evaluation.conformal_sets import OF_CLASS
from neurocohort.evaluation.conformal_sets import SETTING as PREDICTION_SET
from neurocohort.report import labels, tables
from neurocohort.report.part import Part
from neurocohort.report.sources import Missing
from neurocohort.report.tables import COHORT, MODEL, Cell, Column, Key, Row, Table

AS_PREDICTED, AT_THRESHOLD = "as predicted", "at threshold"
AT_POINT = ("sensitivity", "specificity", "ppv", "npv", "balanced_accuracy")
CALIBRATION = ("brier", "calibration_intercept", "calibration_slope")
MATCHED = "age-matched"
CASES = Key("group", "Cases", lambda group: group.replace("cdr=", "CDR "))


def operating_sentence(part: Part, details: pd.DataFrame) -> list[str]:
    """Where the threshold was chosen, and what the network reaches at it."""
    rows = details[(details["setting"] == AT_THRESHOLD) & (details["group"] == "all") & (details["model"] == "network")]
    if rows.empty:
        return []
    rows = rows[rows["cohort"] == tables.lead_cohort(rows)]
    figures = ", ".join(
        f"{labels.metric(name).label.lower() if len(name) > 3 else labels.metric(name).label} "
        f"{tables.figure(rows, metric=name)}"
        for name in AT_POINT
    )
    return [f"{tables.note_of(rows)} At it the network reached on the {part.name} part: {figures}."]


def sets_sentence(part: Part, details: pd.DataFrame) -> list[str]:
    """How many true classes are in the conformal sets, by class too, and how many classes these have."""
    rows = details[details["setting"] == PREDICTION_SET]
    if rows.empty:
        return []
    note, rows = tables.note_of(rows), rows[rows["cohort"] == tables.lead_cohort(rows)]
    covered = tables.first(rows, group="all", metric="coverage")
    if covered is None or not labels.is_number(covered["value"]):
        return [note]
    of_classes = [
        f"{name}: {tables.figure(rows, group=OF_CLASS.format(code), metric='coverage')}"
        for code, name in enumerate(part.experiment.classes)
        if (rows["group"] == OF_CLASS.format(code)).any()
    ]
    by_class = f" ({'; '.join(of_classes)})" if of_classes else ""
    one, several, none = (
        tables.with_interval(tables.first(rows, group="all", metric=name))
        for name in ("one_class_sets", "several_class_sets", "empty_sets")
    )
    return [
        f"{note} On {labels.cohort_in_text(covered['cohort'])}, {part.name}, the set contains the true class of a fraction of "
        f"{tables.with_interval(covered)} of the scans{by_class}. Of the sets, a fraction of {one} has one class; {several} have "
        f"several, which the scan doesn't tell apart; {none} are empty, because the scan is unlike the calibration participants "
        "of every class."
    ]


def of_details(part: Part, details: pd.DataFrame) -> list[Table]:
    """The tables of the rows of details.tsv; none where it has none of this part."""
    at = details[details["setting"] == AT_THRESHOLD]
    plain = details[details["setting"] == AS_PREDICTED]
    if at.empty or plain.empty:
        return []
    return [
        _operating_point(part, at[at["group"] == "all"]),
        _calibration(part, plain[plain["group"] == "all"]),
        *_by_rating(part, plain, at),
        *_of_similar_age(part, plain, at),
    ]


def confusion_matrix(part: Part, confusion: pd.DataFrame) -> Table:
    """The network's matrix: a row a true class, a column an answer, the scans in each cell."""
    rows = confusion[confusion["model"] == "network"]
    rows = rows[rows["cohort"] == tables.lead_cohort(rows)] if len(rows) else rows
    cells = {(int(row["true"]), int(row["called"])): row for _, row in rows.iterrows()}
    names, lines = part.experiment.classes, []
    for code, name in enumerate(names):
        found = [cells.get((code, answer)) for answer in range(len(names))]
        lines.append(Row(f"True: {name}", [_count(row) for row in found] + [_total(found)]))
    right = sum(int(row["scans"]) for (true, called), row in cells.items() if true == called)
    threshold = rows["threshold"].dropna()
    how = f"at threshold {threshold.iloc[0]:.3f}" if len(threshold) else "by the most probable class"
    return Table(
        f"Confusion matrix of the network, {part.name}, {how}: scans, and in brackets participants where they are fewer. Look "
        "off the diagonal: which class was taken for which.",
        [Column("Class", right=False), *(Column(f"Called: {name}") for name in names), Column("Scans")],
        lines,
        f"Confusion matrix: {right} of {int(rows['scans'].sum())} scans were called their true class {how}.",
    )


def _count(row: pd.Series | None) -> Cell:
    if row is None:
        return Cell("–")
    scans, people = int(row["scans"]), int(row["participants"])
    return Cell(str(scans), note=f"({people})" if people != scans else "")


def _total(found: list[pd.Series | None]) -> Cell:
    return Cell(str(sum(int(row["scans"]) for row in found if row is not None)))


def _operating_point(part: Part, rows: pd.DataFrame) -> Table:
    own = tables.network_rows(rows)
    return tables.metric_table(
        tables.network_first(rows),
        [MODEL, COHORT],
        names=AT_POINT,
        caption=f"Operating point, {part.name}: a case is called from the model's own threshold upwards. PPV and NPV are "
        f"valid for the fraction of cases here only. Of the network: {tables.note_of(own)} "
        "The baselines' thresholds were chosen in the same way.",
        summary=f"Operating point: sensitivity {tables.figure(own, metric='sensitivity')}, specificity "
        f"{tables.figure(own, metric='specificity')}.",
    )


def _calibration(part: Part, rows: pd.DataFrame) -> Table:
    if not isinstance(part.metrics, Missing):
        brier = part.metrics[(part.metrics["metric"] == "brier") & (part.metrics["group"] == "all")]
        rows = pd.concat([brier, rows], ignore_index=True)
    rows = tables.network_first(rows[rows["metric"].isin(CALIBRATION)])
    own = tables.network_rows(rows)
    found = {name: tables.figure(own, metric=name) for name in CALIBRATION}
    return tables.metric_table(
        rows,
        [MODEL, COHORT],
        names=CALIBRATION,
        caption=f"Calibration, {part.name}. Intercept: 0 at best, above it probabilities are too low. Slope: 1 at best, below it "
        "they are too extreme; it is not defined where the probabilities separate the classes perfectly.",
        summary=f"Calibration of the network: Brier score {found['brier']}, slope {found['calibration_slope']}, intercept "
        f"{found['calibration_intercept']}.",
    )


def _by_rating(part: Part, plain: pd.DataFrame, at: pd.DataFrame) -> list[Table]:
    rows = pd.concat([plain[plain["metric"] == "auc"], at[at["metric"].isin(("sensitivity", "specificity"))]])
    rows = rows[rows["group"].str.startswith("cdr=") & (rows["model"] == "network")].sort_values(
        ["cohort", "group"], kind="stable"
    )
    if rows.empty:
        return []
    cohort = tables.lead_cohort(rows)
    figures = [
        f"{group.removeprefix('cdr=')}: {tables.figure(rows, cohort=cohort, group=group, metric='auc')}"
        for group in dict.fromkeys(rows.loc[rows["cohort"] == cohort, "group"])
    ]
    return [
        tables.metric_table(
            rows,
            [CASES, COHORT],
            caption=f"The network by clinical dementia rating (CDR) of the cases, each against all controls, {part.name}. Look "
            "whether the very mild cases (0.5) are found: the severe ones are the easy ones.",
            summary=f"AUC by clinical dementia rating: {'; '.join(figures)}.",
        )
    ]


def _of_similar_age(part: Part, plain: pd.DataFrame, at: pd.DataFrame) -> list[Table]:
    names = ("auc", "sensitivity", "specificity")
    rows = pd.concat([plain[plain["metric"].isin(("auc", "age_difference"))], at[at["metric"].isin(names)]])
    matched = tables.network_first(rows[rows["group"] == MATCHED])
    ages = plain[(plain["metric"] == "age_difference") & (plain["group"] == "all") & (plain["model"] == "network")]
    before = tables.figure(ages, " years", cohort=tables.lead_cohort(ages)) if len(ages) else "not known"
    if matched.empty:
        return []
    own = tables.network_rows(matched)
    others = matched[(matched["model"] == "age_sex") & (matched["cohort"] == tables.lead_cohort(matched))]
    baseline = f", age and sex {tables.figure(others, metric='auc')}" if len(others) else ""
    after = tables.figure(own, " years", metric="age_difference")
    return [
        tables.metric_table(
            matched,
            [MODEL, COHORT],
            names=(*names, "age_difference"),
            caption=f"Cases and controls of similar age, {part.name}. {tables.note_of(own[own['metric'] == 'auc'])} "
            f"Mean age of the cases minus that of the controls: {before} in the whole part, {after} here. Look whether the "
            "network still lies above age and sex: if not, it may have learned age alone.",
            summary="Among cases and controls of similar age: AUC of the network "
            f"{tables.figure(own, metric='auc')}{baseline}.",
        )
    ]
