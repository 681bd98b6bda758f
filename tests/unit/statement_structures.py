"""Scenarios of a segmentation of structures with names."""

import numpy as np
import pandas as pd
from neurocohort.evaluation.segmentation_details import BOTH, NEITHER, PREDICTION, REFERENCE
from neurocohort.files import read_json, write_json
from statement_study import Scenario

NAMES = {"CSF": "lesion", "GM": "cortex_left", "WM": "cortex_right"}


def with_structures(scenario: Scenario, absent: bool = False) -> None:
    """Give the tissues of the segmentation other names; ``absent``: every third scan has no lesion."""
    scenario.train("tissue", task={"kind": "segmentation", "structures": [*NAMES.values()]})
    for path in scenario.folder("tissue").glob("*/run.json"):
        run = read_json(path)
        write_json(path, run | {"settings": run["settings"] | {"structures": [*NAMES.values()]}})

    def renamed(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows.replace({"tissue": NAMES})
        lesions = rows["tissue"] == "lesion"
        lacking = absent & lesions & (rows.groupby(["tissue", "part"]).cumcount() % 3 == 0)
        found = lacking & (rows.groupby(["tissue", "part"]).cumcount() % 2 == 0)
        missed = absent & lesions & (rows.groupby(["tissue", "part"]).cumcount() % 3 == 1)
        rows["empty"] = np.select([found, lacking, missed], [REFERENCE, BOTH, PREDICTION], NEITHER)
        rows.loc[lacking, "reference_ml"] = 0.0
        rows.loc[lacking & ~found, "volume_ml"] = 0.0
        rows.loc[lacking, "dice"] = np.where(found[lacking], 0.0, np.nan)
        if absent:
            rows["lesions"] = np.where(lesions, np.where(lacking, 0, 2), np.nan)
            rows["lesions_found"] = rows["lesions"] / 2
            rows["lesions_false"] = np.where(lesions, found, np.nan)
        return rows

    for file in ("predictions", "baselines"):
        scenario.edit(f"results/experiments/tissue/{file}.tsv", renamed)
    scenario.evaluate("tissue")


def structures(scenario: Scenario) -> str:
    """Structures that every scan has."""
    with_structures(scenario)
    scenario.volumes()
    return scenario.page()


def absent_structures(scenario: Scenario) -> str:
    """A structure that some scans don't have, and single lesions."""
    with_structures(scenario, absent=True)
    return scenario.page()


def native_space(scenario: Scenario) -> str:
    """Structures in native space, with scans of an unusual foreground, and a viewer with and without a label map."""
    scenario.config["preprocessing"]["space"] = "native"
    with_structures(scenario)

    def quality(table: pd.DataFrame) -> pd.DataFrame:
        table = table.assign(foreground_ml=4000.0, foreground_cut=0.0, foreground_ml_z=0.0, foreground_cut_z=0.0)
        usable = table.index[table["status"] == "ok"]
        table.loc[usable[:3], "foreground_ml_z"] = [-9.0, 9.0, 0.0]
        table.loc[usable[2], ["foreground_cut", "foreground_cut_z"]] = 0.01, 9.0
        return table.drop(columns=[name for name in table if name.startswith(("snr_", "cnr"))])

    for cohort in scenario.config["cohorts"]:
        scenario.edit(f"results/{cohort}/qc.tsv", quality)
    scenario.volumes()
    return scenario.page()


STRUCTURE_PAGES = (structures, absent_structures, native_space)
STRUCTURE_OPTIONS = {"structures, methods": with_structures}
