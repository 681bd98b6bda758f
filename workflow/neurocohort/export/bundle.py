"""A trained experiment as a MONAI bundle: a folder that predicts with MONAI, torch and nibabel alone.

The layout follows MONAI's bundle specification (https://docs.monai.io/en/stable/mb_specification.html), except for the weights.
These are safetensors files, which contain only numbers, no code. The texts are Jinja templates in ``templates/``.
"""

import dataclasses
import inspect
import json
import shutil
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from neurocohort.architectures import ARCHITECTURES, module_of
from neurocohort.errors import InputError
from neurocohort.evaluation import conformal_rule
from neurocohort.export import bundle_metadata
from neurocohort.export.bundle_conformal import Conformal, conformal_of
from neurocohort.export.bundle_files import evaluator, outputs, scans, weights
from neurocohort.export.bundle_metadata import Bundle, Member, terms_of
from neurocohort.export.raw_scans import RawScanParts, write_raw_scan_part
from neurocohort.files import read_json, write_json, write_text
from neurocohort.learning.constants import WINDOW_OVERLAP
from neurocohort.learning.model_files import RUN, WEIGHTS
from neurocohort.learning.published import PUBLISHED
from neurocohort.learning.tasks import CLASSIFICATION, REGRESSION, SEGMENTATION
from neurocohort.learning.windows import WINDOW_BATCH
from neurocohort.report.model_card import model_card
from neurocohort.report.model_limits import Known
from neurocohort.report.networks import Networks
from neurocohort.sources.sources import read_source, source_table
from neurocohort.study.members import starts_published
from neurocohort.study.pretraining import pretraining_cohorts

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = (evaluator, outputs, scans, weights, conformal_rule)
NETWORK_MODULE = "scripts.network"
SHARED_SETTINGS = (
    "task",
    "network",
    "modalities",
    "classes",
    "structures",
    "channels",
    "patch_size",
    "norm",
    "soft_bins",
    "deep_supervision",
    "patch",
    "mirror_averaging",
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of the experiment: all its networks, for the model card, and what conformal predictions and the part for raw
    scans are made from."""

    networks: Networks | None = None
    predictions: pd.DataFrame | None = None
    by_member: pd.DataFrame | None = None
    raw_scans: RawScanParts | None = None


def write_bundle(
    folder: Path,
    experiment: str,
    members: dict[str, Path],
    metrics: pd.DataFrame,
    samples: pd.DataFrame,
    configuration: dict,
    outcome: Outcome = Outcome(),
) -> None:
    """Write the bundle of an experiment.

    Args:
        folder: The bundle's folder.
        experiment: The experiment's name.
        members: The folders (model.safetensors, run.json) of the networks whose predictions are averaged, by name.
        metrics: The experiment's metrics.tsv.
        samples: The experiment's samples.tsv.
        configuration: The study's, with at least this experiment and those whose weights it starts from.
        outcome: Its networks, predictions.tsv and members.tsv; without the latter, no intervals. Without the parts for raw scans,
            the bundle predicts preprocessed scans only.

    Raises:
        InputError: If members differ in network or task, or a file is missing.
    """
    runs = {name: Member(**read_json(path / RUN)) for name, path in members.items()}
    _check_shared(runs)
    entry = configuration["experiments"][experiment]
    bundle = Bundle(experiment, entry, runs, metrics, samples, configuration, _conformal(entry, runs, samples, outcome))
    (folder / "models").mkdir(parents=True, exist_ok=True)
    for path, name in zip(members.values(), bundle.weights, strict=True):
        if not (path / WEIGHTS).is_file():
            raise InputError(f"{path / WEIGHTS} is missing. Run the workflow again to recreate it.")
        shutil.copyfile(path / WEIGHTS, folder / "models" / name)
    for name in ("inference.json", "metadata.json"):
        write_json(folder / "configs" / name, json.loads(_rendered(f"{name}.j2", bundle=bundle)))
    if outcome.raw_scans:
        write_raw_scan_part(folder, bundle, outcome.raw_scans)
    write_text(folder / "LICENSE", licence_text(experiment, configuration))
    pretrained_on = pretraining_cohorts(configuration["experiments"], experiment)
    terms = {name: terms_of(configuration, name) for name in (*entry["cohorts"], *entry["external"], *pretrained_on)}
    run = next(iter(runs.values()))
    card = model_card(Known(experiment, entry, configuration, run, metrics, samples, outcome.networks, terms))
    write_text(folder / "docs" / "README.md", card + _rendered("usage.md.j2", bundle=bundle))
    for module in SCRIPTS:
        write_text(folder / "scripts" / f"{module.__name__.rpartition('.')[2]}.py", inspect.getsource(module))
    write_text(folder / "scripts" / "__init__.py", "")
    if (architecture := ARCHITECTURES[bundle.settings.network]).own_module:
        write_text(folder / "scripts" / "network.py", inspect.getsource(module_of(architecture)))


def _conformal(entry: dict, runs: dict[str, Member], samples: pd.DataFrame, outcome: Outcome) -> Conformal:
    if outcome.predictions is None or outcome.by_member is None:
        return Conformal()
    return conformal_of(entry["task"], outcome.predictions, outcome.by_member, samples, runs)


def licence_text(experiment: str, configuration: dict) -> str:
    """The content of LICENSE: the licence of the scripts, and the terms of each training cohort."""
    entry = configuration["experiments"][experiment]
    published = (
        read_source(source_table(PUBLISHED)) if starts_published(configuration["experiments"], experiment) else None
    )
    cohorts = dict.fromkeys([*entry["cohorts"], *pretraining_cohorts(configuration["experiments"], experiment)])
    return _rendered("LICENSE.j2", entry=entry, cohorts=cohorts, configuration=configuration, published=published)


def _rendered(template: str, **content: object) -> str:
    made = Environment(  # noqa: S701 - JSON and Markdown, not HTML
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.globals |= {
        "facts": bundle_metadata,
        "network_definition": network_definition,
        "CLASSIFICATION": CLASSIFICATION,
        "REGRESSION": REGRESSION,
        "SEGMENTATION": SEGMENTATION,
        "WINDOW_BATCH": WINDOW_BATCH,
        "WINDOW_OVERLAP": WINDOW_OVERLAP,
    }
    made.filters["fields"] = dataclasses.asdict
    made.filters["folded"] = lambda text: " ".join(text.split())
    return made.get_template(template).render(content)


def network_definition(bundle: Bundle) -> str:
    """The network as a component of MONAI's configuration, in JSON: its class and the arguments."""
    settings, architecture = bundle.settings, ARCHITECTURES[bundle.settings.network]
    inputs, outputs = len(settings.modalities), bundle.task.outputs
    names = ("dropout", "norm", "deep_supervision", "patch_size")
    options = {name: getattr(settings, name) for name in names}
    shape = architecture.shape(settings.channels, inputs, outputs, **options)
    own = f"{NETWORK_MODULE}.{architecture.type_name}" if architecture.own_module else architecture.target
    return json.dumps({"_target_": own} | architecture.arguments(shape))


def _check_shared(members: dict[str, Member]) -> None:
    first_name, first = next(iter(members.items()))
    for name, member in members.items():
        for key in SHARED_SETTINGS:
            own, expected = member.settings.get(key), first.settings.get(key)
            if own != expected:
                raise InputError(
                    f"`{key}` is {expected} in {first_name} and {own} in {name}, but all networks of "
                    "an experiment need the same value. Delete the older network's folder and run again."
                )
