"""The keys of an experiment."""

from typing import Annotated, Literal

from pydantic import Field

from neurocohort.settings.adaptation import Adaptation
from neurocohort.settings.base import Name, Unique
from neurocohort.settings.generation import Generation
from neurocohort.settings.ingest import Modality
from neurocohort.settings.predictors import Predictor
from neurocohort.settings.pretraining import Pretraining
from neurocohort.settings.recipes import Recipe
from neurocohort.settings.selection import SelectionKeys
from neurocohort.settings.semi_supervised import SemiSupervised
from neurocohort.settings.sweeps import Sweep
from neurocohort.settings.training import Network, Training, Transfer
from neurocohort.settings.translation import Translation

Channel = Literal[Modality, "CSF", "GM", "WM", "GM_modulated"]

FEWEST_ON_CURVE, MOST_ON_CURVE = 4, 1_000_000  # participants of a point of a learning curve


class Experiment(SelectionKeys):
    """One experiment."""

    recipe: Recipe | None = Field(
        None,
        description="Sets other defaults for `network` and `training`; the experiment's own keys win. See [Recipes](#recipes).",
    )
    modalities: Unique[Channel] = Field(
        ["T1w"],
        min_length=1,
        description="The network's input channels; each cohort of the experiment must have them. CSF, GM and WM are tissue maps "
        "and need `preprocessing.tissue_maps: true`; GM_modulated needs `preprocessing.modulated_gm: true` too.",
    )
    control: Literal["shuffled_target"] | None = Field(
        None,
        description="Regression and classification: trains the same on permuted targets too, three times. These trainings must "
        "end at chance, and the report states whether they did.",
    )
    leave_one_site_out: Unique[Annotated[str, Field(title="a site's name", min_length=1)]] = Field(
        [],
        description="Sites to leave out in turn, such as `[Guys, HH, IOP]`: for each, the same is trained without the "
        "participants of that site and tested on all of them. The report's matrix of training against test sites has the "
        "results. One seed each.",
    )
    adaptation: Adaptation | None = Field(
        None,
        description="Regression and classification, with `leave_one_site_out` or `external`: ways to adapt the network to a site "
        "that it wasn't trained on, without labels, each compared with this experiment at each new site. See "
        "[Adaptation](../docs/adaptation.md).",
    )
    lesions: Unique[Annotated[str, Field(title="a structure's name", min_length=1)]] | None = Field(
        None,
        min_length=1,
        title="a list of structures' names",
        description="Segmentation only: structures whose connected parts are lesions, such as `[lesion]`. `details.tsv` then has "
        "the sensitivity of their detection and the false lesions of a scan.",
    )
    transfer: Transfer | None = Field(
        None, description="Which weights the training starts from, if not from random ones."
    )
    learning_curve: Unique[
        Annotated[int, Field(title="a number of participants", ge=FEWEST_ON_CURVE, le=MOST_ON_CURVE)]
    ] = Field(
        [],
        title="a list of numbers of participants",
        description="With `transfer`: numbers of participants of the training and validation parts, such as `[10, 20, 50]`. The "
        "experiment is also trained on so many, and on each number and on everybody from random weights. See "
        "[Applied, fine-tuned or trained from random weights](#applied-fine-tuned-or-trained-from-random-weights).",
    )
    pretraining: Pretraining | None = Field(
        None,
        description="Only with `task: pretraining`, where it may be left out: what is learned from the scans. See "
        "[Pretraining](#pretraining).",
    )
    translation: Translation | None = Field(
        None,
        description="Only with `task: translation`, where it may be left out: how the image `target` is predicted "
        "from `modalities`. See [Translation](../docs/translation.md).",
    )
    semi_supervised: SemiSupervised | None = Field(
        None,
        description="Segmentation only: what is learned from scans of the training part without a label map. The same network is "
        "also trained without these scans, for comparison. See [Few labels](../docs/few_labels.md).",
    )
    generation: Generation | None = Field(
        None,
        description="Regression only: a generative model of the training scans, given the target and sex. The same network is "
        "also trained on its images alone and tested on the held-out scans, and the images are compared with the scans. See "
        "[Generation](../docs/generation.md).",
    )
    sweep: Sweep | None = Field(
        None,
        description="Settings to try; the validation part chooses, and the held-out part is only used with the chosen ones.",
    )
    predictors: dict[Name, Predictor] | None = Field(
        None,
        min_length=1,
        title="tables of predictions, each under a name of your choice",
        description="Regression and classification of two classes: predictions that another tool made, which are evaluated on "
        "the same participants.",
    )
    network: Network
    training: Training = Training()
