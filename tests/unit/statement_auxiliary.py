"""What the report says about made-up results of auxiliary variables."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
from neurocohort.evaluation.auxiliary import MemberFeatures, auxiliary_details
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.rows import DetailRow, table_of
from neurocohort.report.auxiliary_results import auxiliary
from neurocohort.report.part import Content

PEOPLE = 16


def results(*variables: str) -> pd.DataFrame:
    """Their rows of details.tsv."""
    names = [f"p{number}" for number in range(PEOPLE)]
    scans = pd.DataFrame({"cohort": "mine", "part": "held-out", "scan_id": names})
    values = np.random.default_rng(1).normal(size=(PEOPLE, 2))
    samples = scans.assign(
        participant_id=names, auxiliary_sex=(values[:, 0] > 0.2) * 1.0, auxiliary_mmse=20 + values[:, 1]
    )
    head = {"weight": 0.3, "known": 20, "mean": 20.0, "scale": 1.0, "intercept": 0.0}
    heads = {
        "sex": head | {"kind": "classification", "coefficients": [1.0, 0.0]},
        "mmse": head | {"kind": "regression", "coefficients": [0.0, 1.0]},
    }
    return table_of(
        auxiliary_details([MemberFeatures(scans, values, heads)], samples, variables, Bootstrap(50, 1)), DetailRow
    )


def said(*variables: str) -> list[str]:
    content = Content()
    auxiliary(SimpleNamespace(details=results(*variables), name="held-out"), content)
    return [*content.sentences, *(text for one in content.details for text in (one.caption, one.summary))]


AUXILIARY: dict[str, Callable[[], list[str]]] = {
    "auxiliary_two": lambda: said("sex", "mmse"),
    "auxiliary_none": lambda: said(),
}
