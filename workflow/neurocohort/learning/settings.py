"""What one training depends on besides its data: the keys of the configuration, and what a single network adds to them."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from neurocohort.settings.generation import Generation
from neurocohort.settings.pretraining import Pretraining
from neurocohort.settings.semi_supervised import SemiSupervised
from neurocohort.settings.training import Augmentation, NetworkKeys, Synthetic, TrainingKeys, TransferKeys
from neurocohort.settings.translation import Translation

__all__ = ["Augmentation", "Synthetic", "TrainingSettings", "read_settings"]


class TrainingSettings(TrainingKeys, NetworkKeys, TransferKeys):
    """One training.

    Attributes:
        network: The architecture's name.
        modalities: The network's input channels.
        classes: Number of classes, in a classification.
        auxiliary: Weights of the losses of auxiliary variables, by name; None without any.
        structures: Names of the structures of a segmentation, label 1 first; None for CSF, GM and WM.
        pretraining: What a pretraining learns; None for other tasks.
        translation: How an image is predicted from others; None for other tasks.
        target_channel: The channel that a translation predicts; None for other tasks.
        semi_supervised: What is learned from scans without a label map; None where nothing is.
        generation: The generative model that is trained; None for other tasks.
        weights: A safetensors file to start from, or the published weights (`learning.published`); empty for random weights.
        grid_fraction: Where the training goes back to the published weights, how much of one of their images the grid covers: the
            intensities are then scaled as for them. None elsewhere.
        intensity_scale: How the preprocessing scales intensities, where images are painted; None elsewhere.
        judged: Whether the network is tested for having learned anything.
        fold: The fold that validates; 0 for the split's own validation part.
        test_fold: The test fold that is held out; 0 without test folds.
    """

    task: Literal["regression", "classification", "segmentation", "pretraining", "generation", "translation"]
    network: str
    modalities: list[str] = Field(["T1w"])
    classes: int = 2
    auxiliary: dict[str, float] | None = None
    structures: list[str] | None = None
    pretraining: Pretraining | None = None
    translation: Translation | None = None
    target_channel: str | None = None
    semi_supervised: SemiSupervised | None = None
    generation: Generation | None = None
    weights: str = ""
    grid_fraction: float | None = None
    intensity_scale: Literal["percentile", "zscore"] | None = None
    judged: bool = True
    fold: int = 0
    test_fold: int = 0
    seed: int = 1

    @property
    def read_channels(self) -> list[str]:
        """The channels of the packs that a training reads: those of its network, then the target of a translation."""
        return [*self.modalities, *([self.target_channel] if self.target_channel else [])]


def read_settings(values: dict[str, Any] | str) -> TrainingSettings:
    """Read the settings of run.json, or of a JSON text. Raises InputError for values that no training has."""
    return TrainingSettings.read(values)


def with_values(settings: TrainingSettings, values: Mapping[str, Any]) -> TrainingSettings:
    """The settings with the ``values`` of a draw, by key of the experiment, such as {"training.learning_rate": 0.003}.

    Raises InputError for values that no training has.
    """
    found = settings.as_dict()
    for key, value in values.items():
        _, *path, last = key.split(".")
        place = found
        for step in path:
            place = place[step]
        place["network" if key == "network.name" else last] = value
    return read_settings(found)
