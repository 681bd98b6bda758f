"""The methods text's paragraph on preprocessing. What a sentence says of a method is what the modules of imaging/ do; their
constants are taken from there."""

from collections.abc import Iterator

import pandas as pd

from neurocohort.dataset.quality_flags import SMALLEST_SITE
from neurocohort.imaging import (
    bias_field,
    brain_extraction,
    field_of_view,
    intensity,
    mni_space,
    registration,
    template,
    tissues,
)
from neurocohort.report.methods_facts import Facts, listed, plain_number, times


def preprocessing_sentences(facts: Facts) -> Iterator[str]:
    """What became of each scan between its file and the study's grid."""
    settings, quality = facts.block("preprocessing"), facts.block("quality")
    if not settings or not quality:
        return
    stripped = [cohort.title for cohort in facts.cohorts.values() if cohort.settings.get("skull_stripped")]
    in_space = [cohort.title for cohort in facts.cohorts.values() if cohort.settings.get("mni_space")]
    registered = [cohort.title for cohort in facts.cohorts.values() if not cohort.settings.get("mni_space")]
    if len(stripped) < len(facts.cohorts):
        yield _brain_extraction(settings, stripped)
    if stripped:
        yield (
            f"The scans of {listed(stripped)} came without skull: their brain mask was what differed from the "
            "background."
        )
    if in_space:
        yield (
            f"Of the scans of {listed(in_space)}, what lay more than {plain_number(mni_space.MARGIN_MM)} mm outside the "
            "template's brain was removed from the brain mask."
        )
    yield from _mask_limits(quality, registered, in_space)
    levels = listed(bias_field.ITERATIONS_PER_LEVEL)
    yield (
        f"The bias field within the mask was estimated by N4 [@tustison2010] on a copy with voxels of "
        f"{plain_number(bias_field.FIT_SPACING_MM)} mm (at most {levels} iterations on three levels) and divided out "
        "on the "
        "scan's own grid."
    )
    if registered:
        yield from _registration(settings, facts, in_space)
    if in_space:
        yield (
            f"The scans of {listed(in_space)} were in MNI152 space by the study's configuration and were not registered; one "
            "that a similarity transform would still have moved by more than "
            f"{plain_number(mni_space.MAX_SHIFT_MM)} mm on average was excluded."
        )
    least = f"a Dice overlap [@dice1945] with the template's of less than {plain_number(quality['min_template_dice'])}"
    if registered:
        nats = plain_number(quality["min_mutual_information"])
        yield (
            f"A scan was excluded where its registered brain mask had {least}, or its brain shared less than {nats} nats of "
            f"information with the template{' (registered scans only)' if in_space else ''}."
        )
    else:
        yield f"A scan was excluded where its brain mask had {least}."
    yield from _appearance_limits(quality, registered, in_space)
    yield (
        f"Each brain was resampled once, by linear interpolation, to a grid of {times(settings['shape'])} voxels of "
        f"{plain_number(settings['spacing_mm'])} mm, and what lay outside its mask was set to 0."
    )
    yield from _further(facts)
    yield _intensity(settings["intensity"])
    yield from _volumes(registered, in_space)
    yield from _quality(quality)


def _brain_extraction(settings: dict, stripped: list[str]) -> str:
    where = " of the other cohorts" if stripped else ""
    last = "its largest connected part was kept and holes in it were filled"
    if settings["brain_extraction"] == "synthstrip":
        return f"The brain{where} was extracted from the raw scan by SynthStrip [@hoopes2022]; {last}."
    grid = times(brain_extraction.NETWORK_GRID)
    return (
        f"The brain{where} was extracted from the raw scan by deepbet [@fisch2024] on a grid of {grid} voxels; {last}."
    )


def _mask_limits(quality: dict, registered: list[str], in_space: list[str]) -> Iterator[str]:
    border = (
        f"was cut over more than {plain_number(quality['max_mask_border_cm2'])} cm² by the border of the field of view or by a "
        "plain background"
    )
    if registered:
        yield (
            f"A scan was excluded where its brain mask had less than {plain_number(quality['min_brain_ml'])} ml or more "
            f"than {plain_number(quality['max_brain_ml'])} ml{' (native scans only)' if in_space else ''}, or {border}."
        )
    else:
        yield f"A scan was excluded where its brain mask {border}."


def _appearance_limits(quality: dict, registered: list[str], in_space: list[str]) -> Iterator[str]:
    percent, inner = f"{100 * quality['max_missing_brain']:g}", plain_number(field_of_view.INNER_MM)
    contrast = plain_number(quality["min_tissue_contrast"])
    yield (
        f"A scan was excluded where more than {percent} % of the template's brain, without its outer {inner} mm, lay outside of "
        "the scan's field of view or in empty voxels, or where the mean of grey matter less that of cerebrospinal fluid, or of "
        f"white less grey matter, was less than {contrast} of the brain's range of intensities, as in images that are not "
        "T1-weighted."
    )
    if registered:
        degrees, ratio = plain_number(quality["max_head_turn_degrees"]), plain_number(quality["max_head_stretch"])
        yield (
            f"A scan{' that was registered' if in_space else ''} was excluded where by its header the head was turned by more "
            f"than {degrees}° against the template, or stretched {ratio} times as much along one direction as along another."
        )


def _volumes(registered: list[str], in_space: list[str]) -> Iterator[str]:
    model = (
        "a mixture of one Gaussian a tissue over the intensities, with the template's tissue maps as priors, fitted by "
        f"expectation-maximisation ({tissues.ITERATIONS} iterations; after [@ashburner2005], without its deformation and bias "
        "field)"
    )
    if registered:
        yield (
            "Volumes of cerebrospinal fluid, grey and white matter were estimated on the scan's own grid by "
            f"{model}{'; only native scans have them' if in_space else ''}."
        )
    else:
        yield f"Cerebrospinal fluid, grey and white matter were distinguished, for the quality numbers, by {model}."
    if in_space:
        yield (
            f"The scans of {listed(in_space)} have no volumes: a scan in the template's space has the template's size, not the "
            "head's own."
        )


def _registration(settings: dict, facts: Facts, in_space: list[str]) -> Iterator[str]:
    start, middle = plain_number(registration.START_MM), plain_number(registration.MIDDLE_MM)
    fit = plain_number(template.FIT_SPACING_MM)
    yield (
        f"The brain was registered to the skull-stripped ICBM 152 template (2009a, symmetric [@fonov2011], as nilearn "
        "[@abraham2014] distributes it) by an affine transform of twelve degrees of freedom that maximised the "
        "Mattes mutual "
        f"information [@mattes2003] ({registration.HISTOGRAM_BINS} bins) in SimpleITK [@lowekamp2013]: seven starts, "
        "one upright "
        f"and six turned by {plain_number(registration.START_DEGREES)}° about each axis, were tried with a "
        "similarity transform at "
        f"{start} mm, and the best was refined at {middle} mm and {fit} mm (seed {settings['seed']})."
    )
    tables = [one.quality for one in facts.cohorts.values() if one.quality is not None and one.title not in in_space]
    starts = [table["registration_starts"].dropna() for table in tables if "registration_starts" in table]
    if starts:
        counts = pd.concat(starts)
        more = int((counts > 1).sum())
        yield (
            f"Further starts were refined where the result missed the limits below, as happened in {more} of "
            f"{len(counts)} scans."
        )
    if settings["registration"] == "deformable":
        from neurocohort.imaging import deformable

        yield (
            "The affine was followed by a deformable registration by greedy [@yushkevich2016] (normalised "
            "cross-correlation in a "
            f"window of 5 × 5 × 5 voxels at {fit} mm, {deformable.ITERATIONS.replace('x', ', ')} iterations); a scan "
            "was excluded "
            f"where it folded more than {100 * deformable.MAX_FOLDED_SHARE:g} % of the brain or overlapped the "
            "template less than "
            "after the affine."
        )


def _further(facts: Facts) -> Iterator[str]:
    more = dict.fromkeys(name for one in facts.cohorts.values() for name in (one.settings.get("modalities") or [])[1:])
    if more:
        yield (
            f"The {listed(more)} images were registered rigidly to the T1-weighted scan of their session by mutual "
            "information; "
            "two starts had to agree to 2 mm, and their own bias field was removed."
        )


def _intensity(method: str) -> str:
    low, high = (f"{value:g}" for value in intensity.PERCENTILES)
    how = {
        "percentile": f"the {low}th and {high}th percentiles became 0 and 1",
        "zscore": f"the mean less and plus {intensity.ZSCORE_LIMIT:g} standard deviations became 0 and 1",
        "white_matter_peak": f"the commonest intensity of white matter became {intensity.WHITE_MATTER_LEVEL:g}, and "
        "0 stayed 0",
    }[method]
    return (
        f"Intensities were scaled within the mask: {how}, values beyond were clipped, and the volumes were stored in "
        "eight bits."
    )


def _quality(quality: dict) -> Iterator[str]:
    yield "Quality numbers of every usable scan were computed after MRIQC's definitions [@esteban2017] where these apply."
    limit = quality["max_outlier_z"]
    if limit:
        yield (
            f"A scan was excluded where one of them lay {plain_number(limit)} or more robust standard deviations "
            "(from the median absolute deviation) from the median of its site (of its cohort, where the site has fewer than "
            f"{SMALLEST_SITE} scans), on the side of a fault; volumes excluded none."
        )
    else:
        yield (
            "None of them excluded a scan for being unusual among the scans of its site; unusual values are marked "
            "in the report."
        )
