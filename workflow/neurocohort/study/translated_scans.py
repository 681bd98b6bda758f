"""Compare the image that a translation predicts of each tested scan, and those of its baselines, with the true one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neurocohort.evaluation.translation import KEY, NETWORK, image_scores
from neurocohort.evaluation.translation_baselines import TranslationBaselines
from neurocohort.learning.data import LEVELS, PackedImages
from neurocohort.learning.model_files import Model
from neurocohort.learning.translated import translated
from neurocohort.learning.translated_files import SHOWN, middle_slices, write_translated
from neurocohort.progress import in_turn


@dataclass
class Compared:
    """What the tested scans gave.

    Args:
        scores: One row per scan and model: the scan's key, ``model`` and the scores of its predicted image.
        slices: For the scans of ``names``: source, predicted and true image and absolute difference, (4, X, Y) uint8 each.
        names: Scans of the first participants, for the report.
    """

    scores: list[dict[str, Any]] = field(default_factory=list)
    slices: list[np.ndarray] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def compare_scans(
    models: Sequence[Model],
    baselines: TranslationBaselines,
    tested: pd.DataFrame,
    packed: PackedImages,
    results: Path,
    folder: Path,
) -> Compared:
    """Predict and compare each of the ``tested`` scans, and write the predicted images into ``folder``.

    Args:
        models: The networks, whose mean predicts.
        baselines: Fitted on the development part.
        tested: The samples of held-out and external scans.
        packed: Their images; the last channel is the target.
        results: The folder of the study's results, where the preprocessed scans are.
        folder: Where the predicted images go.
    """
    channel, compared = str(models[0].settings.target_channel), Compared()
    shown = set(tested.drop_duplicates(["cohort", "participant_id"])["scan_id"].head(SHOWN))
    rows = zip(tested[KEY].to_dict("records"), packed.each_image(tested), strict=True)
    for _, (row, scan) in zip(in_turn(len(tested), "translated"), rows, strict=True):
        source, true = scan[:-1], scan[-1].astype(np.float32) / (LEVELS - 1)
        found, inside = translated(models, source), np.asarray((scan > 0).any(axis=0))
        for name, image in {NETWORK: found, **baselines.predicted(source)}.items():
            compared.scores.append({"model": name, **row, **vars(image_scores(image, true, inside))})
        write_translated(results, folder, row["cohort"], row["scan_id"], found, channel)
        if row["scan_id"] in shown:
            images = [source[0].astype(np.float32) / (LEVELS - 1), found, true, np.abs(found - true)]
            compared.slices.append(middle_slices(images, inside))
            compared.names.append(row["scan_id"])
    return compared
