"""Which part a sample has in one training of a cross-validation."""

import pandas as pd


def with_fold(samples: pd.DataFrame, fold: int) -> pd.DataFrame:
    """The samples with the ``part`` that they have where ``fold`` validates: of train and validation together, the fold's
    samples are ``validation`` and the others ``train``. Fold 0 leaves the split's own parts.
    """
    if fold == 0:
        return samples
    development = samples["part"].isin(("train", "validation"))
    part = samples["part"].mask(development, "train").mask(development & (samples["fold"] == fold), "validation")
    return samples.assign(part=part)
