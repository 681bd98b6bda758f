"""What the network of a translation gets: source channels and the target, of one person or of two.

Order and augmentation depend only on (seed, epoch, sample), and so does the other person of a CycleGAN.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from neurocohort.errors import InputError
from neurocohort.learning.augmentation import AugmentationParameters, ChannelParameters, augment, draw
from neurocohort.learning.data import Intensity, foreground, to_input
from neurocohort.learning.pretraining_inputs import seed_of
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks import Translation
from neurocohort.settings.translation import UNPAIRED

PARTNER_STREAM = 11  # added to (seed, epoch, sample); the other draws of a training have others
Partner = tuple[torch.Tensor, AugmentationParameters]  # a scan (C + 1, X, Y, Z) uint8 and its random parameters


@dataclass(frozen=True)
class TranslationInputs:
    """How the inputs of a translation are made from its scans, whose last channel is the target.

    Args:
        task: The translation.
        intensity: Of the training part, of all channels.
    """

    task: Translation
    intensity: Intensity

    def of_training(
        self, images: list[torch.Tensor], drawn: list[AugmentationParameters], partners: list[Partner] | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The augmented inputs and the targets of one batch. Geometry changes all channels; intensities of the target stay.

        Args:
            images: N scans (C + 1, X, Y, Z) uint8.
            drawn: The random parameters of each.
            partners: For ``unpaired``, a scan of another participant for each of them; else None.

        Returns:
            The inputs: C source channels; with discriminators, also the target and 1 inside the brain, or for ``unpaired`` the
            target of the partner and 1 inside the brain of each. The targets are as for `Translation.loss`. All float32.
        """
        scans = augment(images, None, [_with_plain_target(one) for one in drawn], self.intensity)[0]
        inputs, targets = self._separated(scans)
        if partners is not None:
            others, changes = zip(*partners, strict=True)
            theirs = augment(list(others), None, [_with_plain_target(one) for one in changes], self.intensity)[0]
            target, own = theirs[:, self.task.channels :], self._foreground(scans, slice(0, self.task.channels))
            return torch.cat(
                [inputs, target, own, self._foreground(theirs, slice(self.task.channels, None))], dim=1
            ), targets
        return (torch.cat([inputs, targets], dim=1) if self.task.has_discriminators else inputs), targets

    def of_validation(self, images: list[torch.Tensor], numbers: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """The source channels (N, C, X, Y, Z) and the targets of scans that aren't augmented; ``numbers`` aren't read."""
        return self._separated(to_input(torch.stack(images), self.intensity))

    def _separated(self, scans: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The source channels, and the target with 1 in each voxel above 0 in any channel."""
        counted = self._foreground(scans, slice(0, None))
        return scans[:, : self.task.channels], torch.cat([scans[:, self.task.channels :], counted], dim=1)

    def _foreground(self, scans: torch.Tensor, channels: slice) -> torch.Tensor:
        """(N, 1, X, Y, Z): 1 where one of the ``channels`` is above 0."""
        return foreground(scans[:, channels], channels_of(self.intensity, channels)).unsqueeze(1).float()


@dataclass(frozen=True)
class Partners:
    """The other participant of each draw of a CycleGAN; ``people``: number of the participant of each training row."""

    people: np.ndarray
    settings: TrainingSettings

    def of(self, epoch: int, number: int) -> int:
        """The row of another participant for a draw: each row of all others is equally likely."""
        generator = np.random.default_rng((self.settings.seed, epoch, number, PARTNER_STREAM))
        others = np.flatnonzero(self.people != self.people[number % len(self.people)])
        return int(others[generator.integers(len(others))])

    def drawn(self, epoch: int, number: int, channels: int) -> AugmentationParameters:
        """The random parameters of its scan."""
        seed = seed_of(self.settings.seed, PARTNER_STREAM)  # another seed, since it is another draw
        return draw(self.settings.augmentation, seed, epoch, number, channels)


def partners_of(samples: pd.DataFrame, settings: TrainingSettings) -> Partners | None:
    """The other participants of a CycleGAN's training rows; None for other trainings.

    Raises InputError where all rows are of one participant.
    """
    if settings.translation is None or settings.translation.method != UNPAIRED:
        return None
    people = samples.groupby(["cohort", "participant_id"], sort=False).ngroup().to_numpy()
    if len(set(people.tolist())) < 2:
        raise InputError(
            "`translation.method` is unpaired, which learns from images of different people, and the training part has one "
            "participant; expected at least 2. Use a larger cohort, or other fractions under `split`."
        )
    return Partners(people, settings)


def channels_of(intensity: Intensity, channels: slice) -> Intensity:
    """The statistics of some of the channels."""
    return Intensity(intensity.mean[channels], intensity.deviation[channels])


def _with_plain_target(drawn: AugmentationParameters) -> AugmentationParameters:
    return replace(drawn, channels=(*drawn.channels[:-1], ChannelParameters()))
