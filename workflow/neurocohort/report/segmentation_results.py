"""What a segmentation's results show beyond their metrics: overlap and surface distances by tissue, volumes, empty predictions,
and what the reference labels are, by which all of it is to be read."""

import pandas as pd

from neurocohort.report import figures_segmentation, labels, origins
from neurocohort.report.figures import Drawing
from neurocohort.report.part import Content, Part
from neurocohort.report.sources import Missing
from neurocohort.report.tables import Table, first, lead_cohort, metric_table, network_first, with_interval

SURFACES = ("hd95_mm", "assd_mm", "surface_dice_1mm")
VOLUMES = ("volume_bias_ml", "volume_lower_ml", "volume_upper_ml")
REFERENCES = {
    origins.PAINTED: "the labels that the synthetic scans were painted with",
    origins.FAST: "FAST, whose labels OASIS-1 distributes (FSL_SEG)",
    origins.GIVEN: "the labels that came with the cohort",
}


def segmentation(
    part: Part,
    content: Content,
    *,
    metrics: pd.DataFrame | Missing,
    predictions: pd.DataFrame | Missing,
    baselines: pd.DataFrame | Missing,
    details: pd.DataFrame | Missing,
    trained_range: tuple[float, float] | None,
) -> None:
    """Put the sentences, figures and tables of a segmentation into ``content``."""
    references = references_of(part)
    content.sentences.append(
        f"All of it is agreement with {' and with '.join(references)}"
        + (
            ", not accuracy: where FAST errs, a network that errs in the same way scores well."
            if _is_fast(part)
            else "."
        )
    )
    if not isinstance(metrics, Missing):
        content.tables += _by_tissue(part, metrics)
    if isinstance(predictions, Missing):
        content.figures.append(predictions)
    else:
        content.figures += _figures(part, predictions, baselines, references)
    if not isinstance(details, Missing):
        content.details += _volumes(part, details)
        content.sentences += _empty(part, details)


def references_of(part: Part) -> list[str]:
    """What the reference labels of the tested cohorts are, each once."""
    cohorts = part.settings.get("cohorts", []) if part.cohort is None else [part.cohort]
    settings = part.configuration.get("cohorts") or {}
    return list(dict.fromkeys(REFERENCES[origins.reference_labels(settings.get(cohort) or {})] for cohort in cohorts))


def _is_fast(part: Part) -> bool:
    return REFERENCES[origins.FAST] in references_of(part)


def _by_tissue(part: Part, metrics: pd.DataFrame) -> list[Table | Missing]:
    rows = metrics[metrics["group"].str.startswith("tissue=")]
    found: list[Table | Missing] = []
    if len(rows):
        found.append(
            metric_table(
                rows.assign(tissue=rows["group"].str.removeprefix("tissue=")),
                keys=["tissue", "model", "cohort"],
                heads=["Tissue", "Model", "Cohort"],
                told=lambda tissue, model, cohort: [tissue, labels.model(model), labels.cohort(cohort)],
                caption=f"By tissue, {part.name}; distances between surfaces in mm on the grid of the labels. Look whether a "
                "tissue with a good Dice has a large HD95: a few voxels far away, which Dice forgives.",
            )
        )
    absent = [name for name in SURFACES if not (metrics["metric"] == name).any()]
    if absent:
        told = ", ".join(absent)
        found.append(part.lack("metrics.tsv", "the distances between surfaces", f"The table has no metric {told}."))
    return found


def _volumes(part: Part, details: pd.DataFrame) -> list[Table | Missing]:
    rows = details[details["setting"] == "volumes"]
    if rows.empty:
        return [part.lack("details.tsv", "the limits of agreement of volumes")]
    own = rows[(rows["model"] == "network") & (rows["cohort"] == lead_cohort(rows))]
    tissues = [group.removeprefix("tissue=") for group in dict.fromkeys(own["group"])]
    told = [
        f"{tissue} {with_interval(first(own, group=f'tissue={tissue}', metric='volume_bias_ml'), ' ml')}"
        for tissue in tissues
    ]
    return [
        metric_table(
            network_first(rows).assign(tissue=rows["group"].str.removeprefix("tissue=")),
            keys=["tissue", "model", "cohort"],
            heads=["Tissue", "Model", "Cohort"],
            told=lambda tissue, model, cohort: [tissue, labels.model(model), labels.cohort(cohort)],
            names=VOLUMES,
            caption=f"Volumes in template space, {part.name}: mean of predicted minus reference, and the limits of agreement "
            "(Bland and Altman), "
            "between which 95 of 100 differences lie if they are normal.",
            summary=f"Volumes in template space, predicted minus reference: {'; '.join(told)}.",
        )
    ]


def _empty(part: Part, details: pd.DataFrame) -> list[str]:
    rows = details[(details["metric"] == "empty_predictions") & (details["model"] == "network")]
    if rows.empty:
        return []
    rows = rows[rows["cohort"] == lead_cohort(rows)]
    some = rows[rows["value"] > 0]
    if some.empty:
        return [f"Empty predictions: none; no {part.name} scan lacked a tissue that its reference has."]
    told = [
        f"{row['group'].removeprefix('tissue=')} in {labels.counted(int(row['value']), 'scan')} ({str(row['note']).rstrip('.')})"
        for row in some.to_dict("records")
    ]
    return [
        f"Empty predictions: {'; '.join(told)}. There Dice counts as 0, and the distances, which are not defined, are left out."
    ]


def _figures(
    part: Part, predictions: pd.DataFrame, baselines: pd.DataFrame | Missing, references: list[str]
) -> list[Drawing]:
    scans = predictions["scan_id"].nunique()
    atlas = None if isinstance(baselines, Missing) else baselines[baselines["model"] == "atlas"]
    overlap, volumes = part.figure("dice"), part.figure("volumes")
    figures_segmentation.dice_by_tissue(predictions, atlas, "Atlas", overlap)
    figures_segmentation.volume_agreement(predictions.dropna(subset=["volume_ml", "reference_ml"]), volumes)
    medians = predictions.groupby("tissue", sort=False)["dice"].median()
    told = ", ".join(f"{tissue} {value:.2f}" for tissue, value in medians.items())
    return [
        Drawing.of(
            overlap,
            f"Boxplot of Dice by tissue for {scans} scans of the {part.name} part; medians {told}.",
            f"Dice by tissue, a point a scan; medians {told}. Look for a scan far below its tissue's box: open its mosaic. "
            f"It is agreement with {' and with '.join(references)}.",
        ),
        Drawing.of(
            volumes,
            f"Bland-Altman plot of predicted and reference tissue volumes for {scans} scans of the {part.name} part.",
            "Bland-Altman plot of tissue volumes in template space; the legend gives mean difference ± standard deviation, "
            "dotted are the limits "
            "of agreement. Look for points around zero with no slope. A line off zero is a bias that Dice may hide.",
        ),
    ]
