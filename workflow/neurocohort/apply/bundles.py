"""A bundle opened for raw scans: its networks, the settings of the preprocessing, and what its training scans were like."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neurocohort.dataset.quality_limits import QualityLimits
from neurocohort.errors import InputError
from neurocohort.evaluation import conformal_rule
from neurocohort.export.raw_scans import RAW_SCANS, REFERENCE, REGISTRATION, TEMPLATE
from neurocohort.export.reference import Reference, reference_from
from neurocohort.files import read_json
from neurocohort.imaging.template import Template, read_template
from neurocohort.imaging.volume import Grid
from neurocohort.learning.model_files import Model, model_from
from neurocohort.learning.tasks import SEGMENTATION, structures_of_task
from neurocohort.settings.scan import NATIVE, ScanKeys

INFERENCE, METADATA = Path("configs/inference.json"), Path("configs/metadata.json")
Conformal = conformal_rule.Intervals | conformal_rule.Sets


@dataclass(frozen=True)
class RawScanBundle:
    """A bundle that can be applied to raw scans.

    Attributes:
        folder: Its folder.
        study: The study's name.
        experiment: The experiment's name.
        demo: Whether it was trained on synthetic data.
        task: ``regression``, ``classification`` or ``segmentation``.
        target: The variable that it predicts.
        classes: The names of its classes.
        models: Its networks by name; their predictions are averaged.
        preprocessing: The settings of the preprocessing.
        template: The template; of a study in native space its grid.
        limits: The study's limits of quality.
        reference: What the training scans were like.
        conformal: Makes the interval or set of a prediction; None where the bundle has none.
        intended_use: What it may be used for, a text.
        registration_network: The network with which scans are registered, if the study had one.
    """

    folder: Path
    study: str
    experiment: str
    demo: bool
    task: str
    target: str
    classes: list[str]
    models: Mapping[str, Model]
    preprocessing: ScanKeys
    template: Template | Grid
    limits: QualityLimits
    reference: Reference
    conformal: Conformal | None
    intended_use: str
    registration_network: Path | None = None

    @property
    def modalities(self) -> list[str]:
        """The networks' input channels."""
        return next(iter(self.models.values())).settings.modalities

    @property
    def native(self) -> bool:
        """Whether its scans are in their own space, and not registered to the template."""
        return self.preprocessing.space == NATIVE

    @property
    def segments(self) -> bool:
        return self.task == SEGMENTATION

    @property
    def structures(self) -> tuple[str, ...]:
        """The names of the structures of a segmentation, label 1 first; none for other tasks."""
        return structures_of_task(next(iter(self.models.values())).task)


def open_bundle(folder: Path | str, device: torch.device) -> RawScanBundle:
    """Open the bundle in ``folder``, with its networks on ``device``.

    Raises:
        InputError: If it isn't a bundle, lacks the part for raw scans, or a file of it can't be read.
    """
    folder = Path(folder)
    if not (folder / METADATA).is_file():
        raise InputError(
            f"{folder} isn't a model: it has no {METADATA}. Give the folder of a bundle, such as results/models/brain_age."
        )
    if not (folder / RAW_SCANS).is_file():
        raise InputError(
            f"{folder} has no {RAW_SCANS}: it was made by an earlier version, and predicts preprocessed scans only. Run the "
            "study again to rebuild the bundle; nothing is trained again."
        )
    content = read_json(folder / RAW_SCANS)
    registration = folder / REGISTRATION
    try:
        return RawScanBundle(
            folder,
            content["study"],
            content["experiment"],
            content["demo_data"],
            content["task"],
            content["target"],
            content["classes"],
            {
                name: model_from(member, folder / member["weights"], device)
                for name, member in content["members"].items()
            },
            ScanKeys.read(content["preprocessing"]),
            read_template(folder / TEMPLATE),
            QualityLimits(**content["quality"]),
            reference_from(content["reference"], _arrays(folder / REFERENCE)),
            _conformal(read_json(folder / INFERENCE)),
            read_json(folder / METADATA)["intended_use"],
            registration if registration.is_file() else None,
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(
            f"{folder} is damaged, or of another version of neurocohort ({type(error).__name__}: {error}). Copy it again."
        ) from error


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _conformal(inference: dict[str, Any]) -> Conformal | None:
    """The rule of the bundle's own predictions, from the same block."""
    block = dict(inference.get("conformal") or {})
    if not block:
        return None
    made = {one.__name__: one for one in (conformal_rule.Intervals, conformal_rule.Sets)}
    return made[block.pop("_target_").rpartition(".")[2]](**block)
