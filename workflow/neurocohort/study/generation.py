"""Regressions with a generative model of their scans: what such experiments can't have, and the settings of the trainings.

Imports stay light: this runs at the start of every Snakemake process.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from neurocohort.learning.settings import TrainingSettings
from neurocohort.settings.generation import GENERATION, Generation
from neurocohort.settings.training import Augmentation
from neurocohort.study.members import members_of, training_settings

ROLE = "latent_diffusion"  # in place of the name of an architecture
# Keys that an experiment with a generative model can't have, and why; they are looked up by their dotted name.
REFUSED = {
    "transfer": "the network that learns from generated images starts from random weights, and so must the other",
    "sweep": "its settings would be chosen for scans and not for generated images",
    "auxiliary": "generated images have no values of other variables than the target and sex",
    "training.adversarial_site": "generated images have no site",
    "training.balance_sites": "generated images have no site",
    "training.cross_validation": "the two networks are compared on one division into a training and a validation part",
    "training.patch": "whole images are generated",
}


def generates(experiment: Mapping[str, Any]) -> bool:
    """Whether an experiment has a generative model of its scans."""
    return bool(experiment.get(GENERATION))


def generation_faults(key: str, experiment: dict, config: dict) -> Iterator[str]:
    """Yield a sentence for each conflict of an experiment's ``generation`` with the rest of the configuration.

    Args:
        key: Dotted key of the experiment.
        experiment: Its configuration.
        config: The whole configuration.
    """
    if not generates(experiment):
        return
    place = f"`{key}.generation`"
    if (task := experiment["task"]) != "regression":
        yield f"{place} is for regression, and this experiment's task is {task}; leave it out."
        return
    for name, reason in REFUSED.items():
        value: Any = experiment
        for step in name.split("."):
            value = (value or {}).get(step)
        if value:
            yield f"{place} can't be combined with `{key}.{name}`: {reason}. Remove one of the two keys."
    if folds := config["split"]["test_folds"]:
        yield f"{place} needs one held-out part, and `split.test_folds` is {folds}; remove one of the two keys."
    wanted = Generation(**experiment[GENERATION])
    halvings = len(wanted.channels) + len(wanted.diffusion_channels) - 2
    if (side := min(config["preprocessing"]["shape"])) < 2 ** (halvings + 1):
        yield (
            f"{place} halves the grid {halvings} times (levels of `channels` and `diffusion_channels`), and the smallest side of "
            f"`preprocessing.shape` is {side}; expected at least {2 ** (halvings + 1)}. Use fewer levels."
        )


def reference_member(experiment: dict) -> str:
    """The network of an experiment that the one from generated images is compared with: that of the first seed."""
    return members_of(experiment, 0)[0]


def without_counterfactual(wanted: dict) -> dict:
    """The key ``generation`` without ``counterfactual``, which changes no training."""
    return {key: value for key, value in wanted.items() if key != "counterfactual"}


def generator_settings(experiment: dict, wanted: dict) -> TrainingSettings:
    """The settings of the training of the generative model.

    It learns the scans as they are, not augmented, and the moving average of its weights is kept, as is usual for diffusion.

    Args:
        experiment: As in `all_experiments`.
        wanted: Its ``generation``, as the user configured it.
    """
    own = Generation(**without_counterfactual(wanted))
    base = training_settings(experiment, reference_member(experiment))
    unchanged: dict[str, Any] = dict.fromkeys(Augmentation.model_fields, 0) | {"flip": False}
    return TrainingSettings.read(
        {
            **base.as_dict(),
            "task": GENERATION,
            "network": ROLE,
            "channels": [],
            "generation": own,
            "augmentation": Augmentation(**unchanged),
            "epochs": own.epochs,
            "batch_size": own.batch_size,
            "learning_rate": own.learning_rate,
            "keep": "ema",
            "patience": 0,
            "mixup": 0.0,
            "mirror_averaging": False,
            "coarse_epochs": 0,
            "retrain": 0,
            "judged": False,
        }
    )


def learner_settings(experiment: dict) -> TrainingSettings:
    """The settings of the network that learns from generated images: those of the network that it is compared with."""
    return training_settings(experiment, reference_member(experiment))
