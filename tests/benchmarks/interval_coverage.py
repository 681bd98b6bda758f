"""How often the 95 % intervals of the results cover the truth, on simulated cohorts of which it is known.

    python tests/benchmarks/interval_coverage.py [--cohorts 1000] [--participants 60] [--resamples 2000] [--seed 1]

The intervals come from the functions that write metrics.tsv, with a resample of participants inside each. The truths are closed
forms: the mean absolute error of normal errors, the AUC of two normal distributions 1.5 deviations apart with half the
participants in each, and the mean Dice of three tissues whose losses are gamma-distributed and in part a person's own. Prints a
table with how often the interval lay too high or too low, and adds dated rows to tests/benchmarks/results/interval_coverage.tsv.
Nothing is asserted. Under a minute on one core at full size.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.measures import estimate, measures
from rows import append_rows
from scipy import stats

RESULTS = Path(__file__).resolve().parent / "results" / "interval_coverage.tsv"
ERROR_YEARS = 5.0
APART = 1.5  # standard deviations between the scores of cases and of controls
SHAPE, OF_PERSON = 2.0, 0.03  # gamma: of a person's loss of Dice, in all tissues
OF_TISSUE = {"CSF": 0.05, "GM": 0.02, "WM": 0.01}
WANTED = (0.93, 0.97)


def mae(generator: np.random.Generator, participants: int) -> tuple[pd.DataFrame, float]:
    """Ages and predictions, and the true mean absolute error."""
    age = generator.uniform(20, 86, participants)
    table = pd.DataFrame({"target": age, "prediction": age + generator.normal(0, ERROR_YEARS, participants)})
    return table.assign(participant_id=np.arange(participants)), ERROR_YEARS * float(np.sqrt(2 / np.pi))


def auc(generator: np.random.Generator, participants: int) -> tuple[pd.DataFrame, float]:
    """Classes and scores, and the true AUC."""
    case = np.arange(participants) % 2
    score = stats.norm.cdf(generator.normal(0, 1, participants) + APART * case)
    table = pd.DataFrame({"target": case, "prediction": score, "participant_id": np.arange(participants)})
    return table, float(stats.norm.cdf(APART / np.sqrt(2)))


def dice(generator: np.random.Generator, participants: int) -> tuple[pd.DataFrame, float]:
    """Dice of three tissues a participant, and its true mean."""
    loss = generator.gamma(SHAPE, OF_PERSON, (participants, 1)) + generator.gamma(
        SHAPE, list(OF_TISSUE.values()), (participants, len(OF_TISSUE))
    )
    table = pd.DataFrame(
        {
            "dice": 1 - loss.ravel(),
            "tissue": np.tile(list(OF_TISSUE), participants),
            "participant_id": np.repeat(np.arange(participants), len(OF_TISSUE)),
        }
    )
    return table, 1 - SHAPE * (OF_PERSON + float(np.mean(list(OF_TISSUE.values()))))


METRICS = {"mae": ("regression", mae), "auc": ("classification", auc), "dice": ("segmentation", dice)}


def coverage(name: str, *, cohorts: int, participants: int, resamples: int, seed: int) -> dict:
    """One row: how many of the ``cohorts`` intervals of the metric ``name`` cover the truth, and on which side the others lie."""
    kind, simulated = METRICS[name]
    start, too_high, too_low, methods, widths = time.process_time(), 0, 0, {}, []
    for number in range(cohorts):
        table, truth = simulated(np.random.default_rng([seed, number]), participants)
        found = estimate(name, measures(table, kind)[name], Bootstrap(resamples, number))
        too_high += found.ci_low > truth
        too_low += found.ci_high < truth
        methods[found.interval] = methods.get(found.interval, 0) + 1
        widths.append(found.ci_high - found.ci_low)
    covered = 1 - (too_high + too_low) / cohorts
    return {
        "metric": name,
        "cohorts": cohorts,
        "participants": participants,
        "resamples": resamples,
        "truth": round(truth, 4),
        "coverage": round(covered, 4),
        "standard_error": round(float(np.sqrt(covered * (1 - covered) / cohorts)), 4),
        "too_high": round(too_high / cohorts, 4),
        "too_low": round(too_low / cohorts, 4),
        "mean_width": round(float(np.mean(widths)), 4),
        "methods": ", ".join(f"{method} {count}" for method, count in sorted(methods.items())),
        "within_93_to_97": "yes" if WANTED[0] <= covered <= WANTED[1] else "no",
        "cpu_s": round(time.process_time() - start, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=1000)
    parser.add_argument("--participants", type=int, default=60)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=list(METRICS))
    parser.add_argument("--rows", type=Path, default=RESULTS, help="the table that the rows are added to")
    options = vars(parser.parse_args())
    path, names = options.pop("rows"), options.pop("metrics")
    rows = [coverage(name, **options) for name in names]
    print(pd.DataFrame(rows).to_string(index=False))
    append_rows(path, rows)


if __name__ == "__main__":
    main()
