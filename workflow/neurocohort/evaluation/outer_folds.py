"""Results of the single test folds, and the network compared with each baseline over them.

The main result pools the held-out predictions of all test folds, with intervals over participants. These treat the networks as
given. The values of the single test folds show how much the result changes when the networks are trained on others, and the
corrected resampled t-test is a second opinion on the differences to the baselines.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from neurocohort.dataset.folds import FOLDED_PARTS, test_fold_numbers, with_test_fold
from neurocohort.evaluation.comparisons import paired
from neurocohort.evaluation.intervals import CONFIDENCE
from neurocohort.evaluation.measures import HELD_OUT, KEY, NETWORK, JudgedPart, judged_parts, measures, too_few
from neurocohort.evaluation.metrics import HIGHER_IS_BETTER
from neurocohort.evaluation.rows import NAN, DetailRow, Estimate

BY_TEST_FOLD, CORRECTED_T = "by test fold", "corrected resampled t-test"
INTERVAL = "corrected_t"  # in the column interval
FEWEST_FOLDS = 2  # with a value, for a mean and a test
PEOPLE = ["cohort", "participant_id"]


@dataclass(frozen=True)
class CorrectedTest:
    """The mean of differences over test folds with its 95 % interval, the statistic t and its two-sided p.

    The last two are NaN where all differences are equal.
    """

    mean: float
    low: float
    high: float
    statistic: float
    p: float


def corrected_t_test(differences: np.ndarray, test_to_train: float) -> CorrectedTest:
    """The corrected resampled t-test (Nadeau and Bengio 2003, Machine Learning 52, 239-281).

    The training sets of the folds overlap, so that the variance of the differences is too small by itself: instead of 1 / k it
    is multiplied by 1 / k + ``test_to_train``.

    Args:
        differences: One for each test fold, (k,), k at least 2.
        test_to_train: Number of tested participants of a fold, divided by the number of those that its networks learned from.
    """
    count = len(differences)
    mean, factor = float(differences.mean()), 1 / count + test_to_train
    error = float(np.sqrt(factor * differences.var(ddof=1)))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    if not error:
        return CorrectedTest(mean, mean, mean, NAN, NAN)
    statistic = mean / error
    return CorrectedTest(mean, mean - half, mean + half, statistic, float(2 * stats.t.sf(abs(statistic), count - 1)))


def test_to_train(samples: pd.DataFrame) -> float:
    """The number of participants of a test fold divided by that of the others, means over the test folds of ``samples``."""
    counts = []
    for number in test_fold_numbers(samples):
        own = with_test_fold(samples, number)
        parts = [own["part"] == HELD_OUT, own["part"].isin(FOLDED_PARTS)]
        counts.append([len(own.loc[part, PEOPLE].drop_duplicates()) for part in parts])
    tested, trained = np.mean(counts, axis=0)
    return float(tested / trained)


def test_fold_details(
    everything: pd.DataFrame, samples: pd.DataFrame, kind: str, mean: pd.DataFrame | None = None
) -> list[DetailRow]:
    """Rows of details.tsv on the test folds, part ``held-out``; none without test folds.

    - setting ``by test fold``, groups ``test_fold=1`` and so on: each metric of each model, without an interval; folds of fewer
      than three participants have no rows. Group ``all``: the mean over the folds; the note has the standard deviation.
    - setting ``corrected resampled t-test``, group ``all``, metrics such as ``mae_difference``, the model is the baseline: the
      mean difference over the folds, network minus baseline, with the interval of `corrected_t_test`; the note has its p.

    Args:
        everything: Predictions of all models (`with_baselines`).
        samples: samples.tsv.
        kind: The task.
        mean: Rows of `combined`, which is no baseline: it has rows by test fold, and no difference to the network.
    """
    if "test_fold" not in everything:
        return []
    parts = [part for part in judged_parts(everything) if part.part == HELD_OUT]
    of_mean = judged_parts(mean) if mean is not None and len(mean) else ()
    own = [*parts, *(part for part in of_mean if part.part == HELD_OUT)]
    rows = [row for part in own for row in _by_fold(part, kind)]
    ratio = test_to_train(samples)
    for network in (part for part in parts if part.model == NETWORK):
        for other in parts:
            if other.model != NETWORK and other.cohort == network.cohort:
                rows += _differences(network, other, kind, ratio)
    return rows


def _by_fold(part: JudgedPart, kind: str) -> list[DetailRow]:
    rows: list[DetailRow] = []
    values: dict[str, list[float]] = {}
    for number, chosen in part.table.groupby("test_fold", sort=True):
        if too_few(chosen):
            continue
        own = _values(chosen, kind)
        people = chosen["participant_id"].nunique()
        found = [Estimate(name, value, n=people) for name, value in own.items()]
        rows += part.details(f"test_fold={int(float(str(number)))}", BY_TEST_FOLD, "", found)
        for name, value in own.items():
            values.setdefault(name, []).append(value)
    people = part.table["participant_id"].nunique()
    for name, each in values.items():
        known = np.array(each)[np.isfinite(each)]
        if len(known) >= FEWEST_FOLDS:
            note = f"Mean over {len(known)} test folds, standard deviation {known.std(ddof=1):.3f}."
            rows += part.details("all", BY_TEST_FOLD, note, [Estimate(name, float(known.mean()), n=people)])
    return rows


def _differences(network: JudgedPart, other: JudgedPart, kind: str, ratio: float) -> list[DetailRow]:
    ours, theirs = paired(network.table, other.table, [name for name in KEY if name in network.table])
    differences: dict[str, list[float]] = {}
    for number in sorted(ours["test_fold"].unique()):
        rows = (ours["test_fold"] == number).to_numpy(dtype=bool)
        if too_few(ours[rows]):
            continue
        own, baseline = (_values(table[rows], kind) for table in (ours, theirs))
        for name in own:
            if name in HIGHER_IS_BETTER and name in baseline:
                differences.setdefault(name, []).append(own[name] - baseline[name])
    found: list[DetailRow] = []
    for name, each in differences.items():
        known = np.array(each)[np.isfinite(each)]
        if len(known) < FEWEST_FOLDS:
            continue
        test = corrected_t_test(known, ratio)
        p = "not defined, since all differences are equal" if np.isnan(test.p) else f"{test.p:.3g}"
        note = (
            f"Network minus this baseline, mean over {len(known)} test folds, corrected resampled t-test (Nadeau and Bengio "
            f"2003; variance times 1/{len(known)} + {ratio:.3f}): p {p}."
        )
        estimate = Estimate(
            f"{name}_difference", test.mean, test.low, test.high, INTERVAL, ours["participant_id"].nunique()
        )
        found += other.details("all", CORRECTED_T, note, [estimate])
    return found


def _values(table: pd.DataFrame, kind: str) -> dict[str, float]:
    """Each metric of the rows; NaN where it isn't defined."""
    return {name: one.on(one.usable).value for name, one in measures(table, kind).items()}
