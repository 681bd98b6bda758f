"""Checks of the configured cohorts: the keys for each source, and the variables that each source has."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from neurocohort.dataset.clinicadl_split import split_tables
from neurocohort.errors import InputError
from neurocohort.sources.bids_plan import plan_bids
from neurocohort.sources.caps_plan import plan_caps
from neurocohort.sources.columns import DIFFUSION_MAPS
from neurocohort.sources.local_masks import want_structures
from neurocohort.sources.local_plan import LocalPlan
from neurocohort.sources.table_plan import plan_table
from neurocohort.sources.variable_kinds import CATEGORIES, LABEL_MAP, NAME, NUMBER, TWO_CLASSES
from neurocohort.sources.variables import kinds_of_plan, values_of_plan
from neurocohort.structures import values_by_name
from neurocohort.study.messages import listed

MODALITIES = ("T1w", "T2w", "PDw", "FLAIR")  # with an image each
# The variables that scans.tsv will have, by public source, and what each is: targets and filters are checked against them.
_EVERY_SOURCE = {name: NAME for name in ("participant_id", "session_id", "scan_id")} | {
    "site": CATEGORIES,
    "scanner": CATEGORIES,
    "age": NUMBER,
    "sex": TWO_CLASSES,
}
VARIABLES_OF_SOURCE = {
    "ixi": _EVERY_SOURCE
    | {"height_cm": NUMBER, "weight_kg": NUMBER}
    | {name: CATEGORIES for name in ("ethnicity", "marital_status", "occupation", "qualification")},
    "oasis1": _EVERY_SOURCE
    | {"dementia": TWO_CLASSES, "handedness": CATEGORIES, "dseg": LABEL_MAP}
    | {name: NUMBER for name in ("cdr", "mmse", "education", "ses", "etiv_cm3", "nwbv", "asf", "delay_days")},
}
# The values of the public sources' categories, which the classes, filters and sites of an experiment are checked against.
LEVELS_OF_SOURCE = {
    source: {variable: frozenset(values) for variable, values in levels.items()}
    for source, levels in {
        "ixi": {
            "sex": ("M", "F"),
            "site": ("Guys", "HH", "IOP"),
            "scanner": ("Philips 1.5 T", "Philips 3 T", "GE 1.5 T"),
            "ethnicity": ("white", "code-2", "asian", "black", "chinese", "other"),
            "marital_status": ("single", "married", "cohabiting", "divorced", "widowed"),
            "occupation": (
                *("full-time", "part-time", "student", "housework", "retired", "unemployed", "work-at-home", "other"),
            ),
            "qualification": ("no-qualifications", "o-levels", "a-levels", "further", "university"),
        },
        "oasis1": {
            "sex": ("M", "F"),
            "site": ("WashU",),
            "scanner": ("Siemens 1.5 T",),
            "handedness": ("right", "left"),
            "cdr": ("0", "0.5", "1", "2"),
            "dementia": ("0", "1"),
        },
    }.items()
}
_LOCAL = {"path", "skull_stripped", "mni_space"}
KEYS_OF_SOURCE = {
    "ixi": {"base_url"},
    "oasis1": {"base_url", "table", "discs", "accept_data_use_agreement"},
    "bids": _LOCAL | {"pattern", "run", "labels", "masks"},
    "caps": _LOCAL | {"participants_tsv", "run"},
    "table": _LOCAL | {"labels", "masks"},
}
MODALITIES_OF_SOURCE = {
    "ixi": ("T1w", "T2w", "PDw", *DIFFUSION_MAPS),
    "oasis1": ("T1w",),
    "bids": (*MODALITIES, *DIFFUSION_MAPS),
    "caps": ("T1w",),
    "table": MODALITIES,
}
WANTED_PATHS = {
    "bids": "the folder with the sub-* folders",
    "caps": "the CAPS folder, which has the folder subjects",
    "table": "a .csv, .tsv or .xlsx file",
}
ALL_SOURCE_KEYS = set().union(*KEYS_OF_SOURCE.values())
AGREEMENTS = {"oasis1": ("OASIS-1", "https://sites.wustl.edu/oasisbrains/")}
RESERVED_COHORT_NAMES = ("experiments", "models", "applied_models", "report")  # other folders in results/
SYNTHETIC_FOLDER = "resources/synthetic"


Row = dict[str, object]  # the values of one scan, by variable


class Survey(NamedTuple):
    """What is known about a cohort before anything runs.

    Attributes:
        kinds: Variables of its scans.tsv, and the kind of each; None if the kind isn't known.
        rows: For a local cohort, the values of each scan by variable; None for a public cohort.
        levels: For a public cohort, the possible values of each categorical variable, as texts.
        why_missing: By variable, a sentence that explains values that are n/a.
    """

    kinds: dict[str, str | None]
    rows: list[Row] | None
    levels: dict[str, frozenset[str]]
    why_missing: dict[str, str]


def survey_of_cohort(cohort: dict, columns: set[str] | None = None) -> Survey:
    """Collect what is known about a configured cohort.

    Args:
        cohort: The cohort's configuration.
        columns: The columns of its scans.tsv, if that exists.

    Raises:
        InputError: If a local folder or table can't be read, or ingest would refuse it.
    """
    if (plan := plan_of_cohort(cohort)) is not None:
        known, (values, _, _, why_missing) = dict(kinds_of_plan(plan)), values_of_plan(plan)
        rows = [
            {
                "participant_id": scan.participant_id,
                "session_id": scan.session_id,
                "scan_id": scan.scan_id,
                "dseg": scan.segmented or None,
            }
            | values[scan.scan_id]
            for scan in plan.scans
        ]
        survey = Survey(known, rows, {}, why_missing)
    else:
        source = cohort["source"]
        survey = Survey(dict(VARIABLES_OF_SOURCE[source]), None, LEVELS_OF_SOURCE[source], {})
    if columns is not None:
        columns = columns | ({"dseg"} if "dseg_path" in columns else set())
        survey = survey._replace(kinds={variable: survey.kinds.get(variable) for variable in columns})
    return survey


def plan_of_cohort(cohort: dict) -> LocalPlan | None:
    """The plan of the ingest of a local cohort; None for a public one."""
    path, masks = Path(cohort.get("path", "")), cohort.get("masks") or {}
    if cohort["source"] == "bids":
        selection = {key: cohort[key] for key in ("pattern", "run", "modalities")}
        plan = plan_bids(path, **selection, masks=masks)
    elif cohort["source"] == "caps":
        labels = cohort.get("participants_tsv")
        plan = plan_caps(path, participants_tsv=Path(labels) if labels else None, run=cohort["run"])
    elif cohort["source"] == "table":
        plan = plan_table(path, modalities=cohort["modalities"], masks=masks)
    else:
        return None
    want_structures(plan, values_by_name(cohort.get("labels") or {}), masks)
    return plan


def cohort_faults(config: dict) -> Iterator[str]:
    """Yield a sentence for each key of a cohort that doesn't match its source."""
    for name, cohort in config["cohorts"].items():
        key, source = f"cohorts.{name}", cohort["source"]
        if name in RESERVED_COHORT_NAMES:
            yield f"`{key}`: `{name}` is the name of a folder of results; call the cohort something else."
        for other in sorted(set(cohort) & ALL_SOURCE_KEYS - KEYS_OF_SOURCE[source]):
            owners = [f"`source: {owner}`" for owner, keys in KEYS_OF_SOURCE.items() if other in keys]
            yield (
                f"`{key}.{other}` is only for cohorts with {' or '.join(owners)}, and the source of this one is {source}; leave "
                "it out."
            )
        yield from _modality_faults(key, cohort)
        yield from _label_faults(key, cohort.get("labels") or {}, cohort.get("masks") or {})
        if "path" in KEYS_OF_SOURCE[source]:
            yield from _path_faults(key, cohort)
        yield from _split_file_faults(key, cohort.get("split_file"), config["split"])
        if source in AGREEMENTS and not cohort.get("accept_data_use_agreement"):
            title, address = AGREEMENTS[source]
            found = "false" if "accept_data_use_agreement" in cohort else "missing"
            yield (
                f"`{key}.accept_data_use_agreement` is {found}; {title} has a data use agreement: read it at {address} "
                "and, if you accept it, write `accept_data_use_agreement: true`."
            )


def split_file_faults(config: dict) -> Iterator[str]:
    """Yield a sentence for each split of a user's own that lacks the column of the test folds, where the study has them."""
    from neurocohort.dataset.split_file import check_test_fold_column  # pandas is needed for this only

    test_folds = config["split"]["test_folds"]
    for name, cohort in config["cohorts"].items() if test_folds else ():
        split_file = cohort.get("split_file")
        if split_file and os.path.isfile(split_file):
            try:
                check_test_fold_column(split_file, test_folds)
            except InputError as error:
                yield f"`cohorts.{name}.split_file`: {error}"


def _modality_faults(key: str, cohort: dict) -> Iterator[str]:
    there, modalities = MODALITIES_OF_SOURCE[cohort["source"]], cohort["modalities"]
    if modalities[0] != "T1w":
        yield f"`{key}.modalities` begins with {modalities[0]}; expected T1w first: the others are registered to it."
    if absent := [modality for modality in modalities if modality not in there]:
        yield f"`{key}.modalities` has {listed(absent)}; a cohort with `source: {cohort['source']}` has {listed(there)}."


def _label_faults(key: str, labels: dict, masks: dict) -> Iterator[str]:
    """Values, names and masks that belong to two structures."""
    if twice := [name for name in masks if name in labels]:
        yield f"`{key}` has {listed(twice)} under `labels` and under `masks`; expected each name once."
    for place in dict.fromkeys(place for place in masks.values() if [*masks.values()].count(place) > 1):
        names = listed([name for name, own in masks.items() if own == place])
        yield f"`{key}.masks` gives {place} to {names}; expected a mask for each."
    owners: dict[int, str] = {}
    for name, values in values_by_name(labels).items():
        for value in values:
            if value in owners:
                yield f"`{key}.labels` gives the value {value} to {owners[value]} and to {name}; expected each value once."
            owners.setdefault(value, name)


def _path_faults(key: str, cohort: dict) -> Iterator[str]:
    wanted = WANTED_PATHS[cohort["source"]]
    if "path" not in cohort:
        yield f"`{key}.path` is missing; expected {wanted}."
        return
    path = Path(cohort["path"])
    # Path's own methods raise where a name is too long.
    if not (os.path.isfile(path) if cohort["source"] == "table" else os.path.isdir(path)):
        found = "a file" if os.path.isfile(path) else "a folder" if os.path.isdir(path) else "not there"
        yield f"`{key}.path` is `{path}`, which is {found} (relative to {Path.cwd()}); expected {wanted}."


def _split_file_faults(key: str, split_file: str | None, split: dict) -> Iterator[str]:
    if split_file is None or os.path.isfile(split_file):
        return
    if not os.path.isdir(split_file):
        yield (
            f"`{key}.split_file` is `{split_file}`, which isn't a file (relative to {Path.cwd()}); expected a split.tsv, or the "
            "folder of a ClinicaDL split."
        )
        return
    try:
        folds = sum(file.fold is not None for file in split_tables(Path(split_file)))
    except InputError as error:
        yield f"`{key}.split_file`: {error}"
        return
    if split["test_folds"]:
        yield f"`{key}.split_file` is a split of ClinicaDL, which has no test folds; set `split.test_folds: 0`, or leave it out."
    elif folds and split["folds"] not in (0, folds):
        yield f"`{key}.split_file` has {folds} folds, and `split.folds` is {split['folds']}; write `split.folds: {folds}`."


def synthetic_faults(config: dict) -> Iterator[str]:
    """Yield a sentence for each synthetic archive that no cohort uses, or that lacks something that a cohort uses."""
    made = config.get("synthetic", {})
    if made and not config["demo_data"]:
        yield "`synthetic` makes synthetic scans, and `demo_data` is false; write `demo_data: true` or leave `synthetic` out."
    used = set()
    for name, cohort in config["cohorts"].items():
        folder = cohort.get("base_url", "").removeprefix("file://").rstrip("/")
        if folder != f"{SYNTHETIC_FOLDER}/{cohort['source']}":
            continue
        used.add(cohort["source"])
        if cohort["source"] not in made:
            yield (
                f"`cohorts.{name}.base_url` is {folder}, which only exists if `synthetic.{cohort['source']}` is configured; add "
                "that key."
            )
        elif beyond := [disc for disc in cohort.get("discs", []) if disc > made["oasis1"]["discs"]]:
            yield (
                f"`cohorts.{name}.discs` has {listed(beyond)}, and `synthetic.oasis1.discs` makes {made['oasis1']['discs']}; "
                "increase that number, or leave those discs out."
            )
        elif absent := set(cohort["modalities"]) - set(made[cohort["source"]].get("modalities", ["T1w"])):
            key = f"synthetic.{cohort['source']}.modalities"
            yield f"`cohorts.{name}.modalities` has {listed(sorted(absent))}, which `{key}` lacks; add it there."
    for source in made:
        if source not in used:
            yield (
                f"`synthetic.{source}` is used by no cohort; write `base_url: {SYNTHETIC_FOLDER}/{source}` for a cohort with "
                f"`source: {source}`, or leave it out."
            )
