"""The results of a segmentation beyond its metrics: overlap and surface distances by structure, volumes, empty predictions, and
the origin of the reference labels, which all of it depends on."""

import pandas as pd

from neurocohort.report import figures_segmentation, labels, origins, tables
from neurocohort.report.figures import Drawing
from neurocohort.report.part import Content, Part
from neurocohort.report.sources import Missing
from neurocohort.report.tables import COHORT, MODEL, STRUCTURE, TISSUE, Key, Table

SURFACES = ("hd95_mm", "assd_mm", "surface_dice_1mm")
VOLUMES = ("volume_bias_ml", "volume_lower_ml", "volume_upper_ml", "volume_error_ml")
REFERENCES = {
    origins.PAINTED: "the labels that the synthetic scans were painted with",
    origins.FAST: "FAST, whose labels OASIS-1 distributes (FSL_SEG)",
    origins.GIVEN: "the labels that came with the cohort",
}


def segmentation(part: Part, content: Content) -> None:
    """Put the sentences, figures and tables of a segmentation into ``content``."""
    references = references_of(part)
    accuracy = ""
    if REFERENCES[origins.FAST] in references:
        accuracy = ", not accuracy: where FAST errs, a network that errs in the same way scores well"
    content.sentences.append(f"All of it is agreement with {' and with '.join(references)}{accuracy}.")
    if not isinstance(part.metrics, Missing):
        content.tables += _by_tissue(part, part.metrics)
    if isinstance(part.predictions, Missing):
        content.figures.append(part.predictions)
    else:
        content.figures += _figures(part, part.predictions, references)
    if not isinstance(part.details, Missing):
        content.details += _volumes(part, part.details)
        content.sentences += _empty(part, part.details) + _absent(part, part.details) + _lesions(part.details)


def references_of(part: Part) -> list[str]:
    """The reference labels of the tested cohorts in words, each once."""
    return list(dict.fromkeys(REFERENCES[origins.reference_labels(cohort.settings)] for cohort in part.cohorts))


def _by_tissue(part: Part, metrics: pd.DataFrame) -> list[Table | Missing]:
    rows = metrics[metrics["group"].str.startswith("tissue=")]
    found: list[Table | Missing] = []
    if len(rows):
        found.append(
            tables.metric_table(
                rows.assign(tissue=rows["group"].str.removeprefix("tissue=")),
                [_key(part), MODEL, COHORT],
                caption=f"By {part.experiment.structure}, {part.name}; distances between surfaces in mm on the grid of the "
                f"labels. Look whether a {part.experiment.structure} with a good Dice has a large HD95: a few voxels far away, "
                "which Dice forgives.",
            )
        )
    absent = [name for name in SURFACES if not (metrics["metric"] == name).any()]
    if absent:
        why = f"The table has no metric {', '.join(absent)}."
        found.append(part.lack("metrics.tsv", "the distances between surfaces", why))
    return found


def _space(part: Part) -> str:
    """Where the volumes of the study's grid are measured."""
    return "the scan's own space" if part.experiment.native else "template space"


def _volumes(part: Part, details: pd.DataFrame) -> list[Table | Missing]:
    rows = details[details["setting"] == "volumes"]
    if rows.empty:
        return [part.lack("details.tsv", "the limits of agreement of volumes")]
    own = tables.network_rows(rows)
    tissues = [group.removeprefix("tissue=") for group in dict.fromkeys(own["group"])]
    biases = [
        f"{tissue} {tables.figure(own, ' ml', group=f'tissue={tissue}', metric='volume_bias_ml')}" for tissue in tissues
    ]
    return [
        tables.metric_table(
            tables.network_first(rows).assign(tissue=rows["group"].str.removeprefix("tissue=")),
            [_key(part), MODEL, COHORT],
            names=tuple(name for name in VOLUMES if (rows["metric"] == name).any()),
            caption=f"Volumes in {_space(part)}, {part.name}: mean of predicted minus reference, and the limits of agreement  "
            "(Bland and Altman), between which 95 of 100 differences lie if they are normal.",
            summary=f"Volumes in {_space(part)}, predicted minus reference: {'; '.join(biases)}.",
        )
    ]


def _empty(part: Part, details: pd.DataFrame) -> list[str]:
    rows = details[(details["metric"] == "empty_predictions") & (details["model"] == "network")]
    if rows.empty:
        return []
    rows = rows[rows["cohort"] == tables.lead_cohort(rows)]
    some = rows[rows["value"] > 0]
    if some.empty:
        return [
            f"Empty predictions: none; no {part.name} scan lacked a {part.experiment.structure} that its reference has."
        ]
    own = details[(details["metric"] == "with_structure") & (details["model"] == "network")]
    whole = own[own["cohort"] == tables.lead_cohort(rows)].set_index("group")["value"]  # empty for the tissues
    scans = [
        f"{row['group'].removeprefix('tissue=')} in {_of_all(int(row['value']), whole.get(row['group']))} "
        f"({str(row['note']).rstrip('.')})"
        for row in some.to_dict("records")
    ]
    return [
        f"Empty predictions: {'; '.join(scans)}. There Dice counts as 0, and the distances, which are not defined, are left out."
    ]


def _of_all(count: int, whole: float | None) -> str:
    return labels.counted(count, "scan") if whole is None else f"{count} of {labels.counted(int(whole), 'scan')}"


def _absent(part: Part, details: pd.DataFrame) -> list[str]:
    """On structures that some references lack, which the tissues never do."""
    rows = details[(details["setting"] == "absent") & (details["model"] == "network")]
    if rows.empty:
        return []
    rows = rows[rows["cohort"] == tables.lead_cohort(rows)].assign(
        structure=lambda own: own["group"].str.partition("=")[2]
    )
    counts = rows.pivot(index="structure", columns="metric", values="value").astype(int)
    counts = counts[counts["without_structure"] > 0]
    if counts.empty:
        return [f"Every structure is in the reference of every {part.name} scan."]
    found = "; ".join(
        f"{name} in {row['found_where_absent']} of {row['without_structure']} scans"
        for name, row in counts.to_dict("index").items()
    )
    return [
        f"Structures found where the reference has none: {found}. There Dice counts as 0; where neither map has the structure, "
        "it isn't defined and is left out."
    ]


def _lesions(details: pd.DataFrame) -> list[str]:
    """On the detection of single lesions."""
    rows = details[(details["setting"] == "lesions") & (details["model"] == "network")]
    if rows.empty:
        return []
    rows = rows[rows["cohort"] == tables.lead_cohort(rows)]
    found = [
        f"of {group.partition('=')[2]}, {tables.figure(own, metric='lesion_sensitivity')} were found, with "
        f"{tables.figure(own, metric='false_lesions')} false ones in a scan"
        for group, own in rows.groupby("group", sort=False)
    ]
    return [
        f"Single lesions, the connected parts of a label map: {'; '.join(found)}. A lesion is found where the prediction "
        "overlaps it."
    ]


def _key(part: Part) -> Key:
    return TISSUE if part.experiment.structure == "tissue" else STRUCTURE


def _figures(part: Part, predictions: pd.DataFrame, references: list[str]) -> list[Drawing | Missing]:
    scans, noun = predictions["scan_id"].nunique(), part.experiment.structure
    atlas = None if isinstance(part.baselines, Missing) else part.baselines[part.baselines["model"] == "atlas"]
    overlap, volumes = part.figure("dice"), part.figure("volumes")
    figures_segmentation.dice_by_tissue(predictions, atlas, "Atlas", overlap)
    figures_segmentation.volume_agreement(predictions.dropna(subset=["volume_ml", "reference_ml"]), volumes)
    medians = predictions.groupby("tissue", sort=False)["dice"].median()
    by_tissue = ", ".join(f"{tissue} {value:.2f}" for tissue, value in medians.items())
    return [
        Drawing.of(
            overlap,
            f"Boxplot of Dice by {noun} for {scans} scans of the {part.name} part; medians {by_tissue}.",
            f"Dice by {noun}, a point a scan; medians {by_tissue}. Look for a scan far below its {noun}'s box: open its mosaic. "
            f"It is agreement with {' and with '.join(references)}.",
        ),
        Drawing.of(
            volumes,
            f"Bland-Altman plot of predicted and reference {noun} volumes for {scans} scans of the {part.name} part.",
            f"Bland-Altman plot of {noun} volumes in {_space(part)}; the legend gives mean difference ± standard deviation, "
            "dotted are the limits of "
            "agreement. Look for points around zero with no slope. A line off zero is a bias that Dice may hide.",
        ),
    ]
