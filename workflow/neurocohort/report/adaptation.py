"""What adaptation to new sites brings: each method next to its reference on the same scans, at each site and at all together."""

import pandas as pd

from neurocohort.evaluation.adaptation import ALL_SITES, BASELINE, BATCH_NORM, PLAIN
from neurocohort.report import labels, tables
from neurocohort.report.part import Content, Part
from neurocohort.report.sources import Missing
from neurocohort.report.tables import N_COUNTS, Cell, Column, Row, Table
from neurocohort.text import listed


def adaptation(part: Part, content: Content) -> None:
    """Put the sentences and the table of the comparison into ``content``; nothing for an experiment without `adaptation`."""
    found = part.experiment.adaptation
    if found is None:
        return
    if isinstance(found, Missing):
        content.details.append(found)
        return
    name = part.headline_metric
    rows = found[found["metric"] == name]
    if rows.empty:
        content.sentences.append(
            "Adaptation to new sites is not compared: no site has predictions of three participants."
        )
        return
    content.sentences += _sentences(part, rows) + _absent(found, rows)
    content.details.append(_table(part, found, name))


def _sentences(part: Part, rows: pd.DataFrame) -> list[str]:
    """A sentence for each compared method, at all new sites together or at the only one."""
    compared = rows[rows["compared_with"].fillna("") != ""]
    lead = compared[compared["site"] == ALL_SITES] if (compared["site"] == ALL_SITES).any() else compared
    sites = list(dict.fromkeys(rows.loc[rows["site"] != ALL_SITES, "site"].astype(str)))
    sentences = [_difference(part, row, sites) for _, row in lead.iterrows()]
    if (lead["kind"] == BATCH_NORM).any():
        sentences.append(
            "These batch statistics are from the tested scans themselves, without their labels (a transductive result): a single "
            "new scan can't be predicted in this way."
        )
    if (lead["kind"] == BASELINE).any():
        sentences.append(
            "ComBat doesn't correct the scans of a site that it wasn't fitted on: only the scans that the model is fitted on are "
            "corrected, and those of the new site are used as they are."
        )
    return sentences


def _absent(found: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """A sentence on the methods of the table that have no value at any new site; ``rows`` are those of the headline metric."""
    compared = found[~found["method"].isin(rows["method"]) & (found["compared_with"].fillna("") != "")]
    names = list(dict.fromkeys(_named(row) for _, row in compared.iterrows()))
    if BATCH_NORM in set(found["kind"]) - set(rows["kind"]):
        names.append(_named(found[found["kind"] == BATCH_NORM].iloc[0]))
    if not names:
        return []
    return [
        f"Not compared, since there are no predictions of new sites: {listed(names)}. The logs of the jobs have the reasons, "
        "such as too few scans of a site."
    ]


def _difference(part: Part, row: pd.Series, sites: list[str]) -> str:
    """A method minus its reference in words, and whether that is a gain."""
    described, name = labels.metric(str(row["metric"])), _named(row)
    place = f"at the new site {row['site']}" if len(sites) == 1 else f"at the new sites {listed(sites)}"
    about = f"{name} minus {_reference(row)} {place}"
    note = f" {row['note']}" if isinstance(row["note"], str) and row["note"] else ""
    if not labels.is_number(row["difference"]) or not labels.is_number(row["difference_low"]):
        return f"{about}: they can't be compared, since the difference has no interval.{note}"
    unit = labels.metric_unit(str(row["metric"]), part.experiment.target)
    low, high = row["difference_low"], row["difference_high"]
    if low <= 0 <= high:
        decided = "The interval includes 0: no gain is shown."
    elif (row["difference"] > 0) == bool(described.higher_is_better):
        decided = "The interval excludes 0: this is a gain."
    else:
        decided = "The interval excludes 0: it was worse."
    value = f"{labels.number(row['difference'], described.decimals)}{unit}"
    return (
        f"{about}, on the same {labels.counted(int(row['n']), 'participant')}: {described.label} {value} "
        f"{labels.interval(low, high, described.decimals)}, where {'higher' if described.higher_is_better else 'lower'} is "
        f"better. {decided}{note}"
    )


def _named(row: pd.Series) -> str:
    if row["kind"] == BASELINE:
        return labels.model(str(row["method"]))
    name = labels.spaced(str(row["method"]))
    return f"{name} with the batch statistics of the new site" if row["kind"] == BATCH_NORM else name


def _reference(row: pd.Series) -> str:
    name = str(row["compared_with"])
    return labels.model(name) if row["kind"] == BASELINE else labels.in_text(name)


def _table(part: Part, rows: pd.DataFrame, name: str) -> Table:
    shown = rows[rows["metric"].fillna("") != ""]
    names = tables.metrics_in_order(shown)
    label, lines = labels.metric(name).label, []
    cohorts = shown["cohort"].nunique() > 1
    for (kind, _, cohort, site), group in rows.groupby(["kind", "method", "cohort", "site"], sort=False):
        records = {row["metric"]: row for _, row in group.iterrows()}
        first = group.iloc[0]
        place = str(site) if site == ALL_SITES or not cohorts else f"{labels.cohort(str(cohort))}, {site}"
        cells = [Cell(place, note=_short(first["note"]), right=False)]
        cells += [tables.number_cell(records.get(metric), metric) for metric in names]
        lines.append(
            Row(
                _named(first),
                [*cells, _difference_cell(records.get(name)), Cell(str(int(first["n"])))],
                own=kind == PLAIN,
            )
        )
    return Table(
        "Sites that the networks were not trained on: each method, and its difference to the same without it (ComBat: to the "
        f"same baseline without ComBat) in {label}, on the same scans, from a paired bootstrap of participants. The networks are "
        "taken as they are: other seeds would give other values. At all sites together, each scan is predicted by networks that "
        f"were not trained on its site. {tables.intervals_explained(shown)} {N_COUNTS}",
        [Column("Method", right=False), Column("Site", right=False)]
        + [tables.metric_column(metric) for metric in names]
        + [Column(f"{label}, difference"), Column("n")],
        lines,
        f"Adaptation to new sites: {labels.counted(rows.groupby(['kind', 'method']).ngroups, 'method')} at "
        f"{labels.counted(rows.loc[rows['site'] != ALL_SITES, ['cohort', 'site']].drop_duplicates().shape[0], 'site')}.",
    )


def _short(note: object) -> str:
    return "learned nothing" if isinstance(note, str) and "learned nothing" in note else ""


def _difference_cell(row: pd.Series | None) -> Cell:
    if row is None or not labels.is_number(row["difference"]):
        return Cell("–")
    places = labels.metric(str(row["metric"])).decimals
    limits = labels.interval(row["difference_low"], row["difference_high"], places)
    return Cell(labels.number(row["difference"], places), limits, value=float(row["difference"]))
