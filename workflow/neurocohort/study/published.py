"""Checks and notes of experiments that start from published weights, and where the file is in a study."""

from collections.abc import Iterator

from neurocohort.architectures import ARCHITECTURES
from neurocohort.learning.published import NETWORK, PUBLISHED, SHAPE, SPACING_MM
from neurocohort.sources.sources import SourceFile, read_source, source_table, store_of
from neurocohort.study.members import starts_published
from neurocohort.study.messages import listed
from neurocohort.text import by, plain_number


def published_faults(key: str, experiment: dict, config: dict) -> Iterator[str]:
    """Yield a sentence for each setting of an experiment that the published weights that it starts from don't allow."""
    transfer, place = experiment.get("transfer") or {}, f"`{key}.transfer.weights` is {PUBLISHED}"
    if transfer.get("weights") != PUBLISHED:
        if transfer.get("weights_url") is not None:
            yield f"`{key}.transfer.weights_url` is only for `weights: {PUBLISHED}`; leave it out."
        return
    if PUBLISHED in config["experiments"]:
        yield f"{place}, which is the name of published weights and of an experiment; rename the experiment."
    network, widths = experiment["network"], list(ARCHITECTURES[NETWORK].widths)
    if network["name"] != NETWORK:
        yield f"{place}, the weights of an SFCN, and `{key}.network.name` is `{network['name']}`; write `{NETWORK}`."
        return
    if network["channels"] and network["channels"] != widths:
        yield f"{place}, and `{key}.network.channels` is {network['channels']}; leave it out, or write {widths}."
    if network["norm"] != "batch":
        yield f"{place}, a network with batch norm, and `{key}.network.norm` is {network['norm']}; write `norm: batch`."
    if (given := experiment["modalities"]) != ["T1w"]:
        yield f"{place}, a network for T1w alone, and `{key}.modalities` has {listed(given)}; write `modalities: [T1w]`."
    if config["preprocessing"]["intensity"] == "zscore":
        yield (
            f"{place}, which expects intensities in proportion to the scan's, and `preprocessing.intensity` is zscore; write "
            "percentile or white_matter_peak."
        )


def published_notes(config: dict) -> list[str]:
    """A sentence for the experiments that start from the published weights on another grid than theirs."""
    shape, spacing_mm = config["preprocessing"]["shape"], config["preprocessing"]["spacing_mm"]
    names = [name for name in config["experiments"] if starts_published(config["experiments"], name)]
    if not names or not another_grid(config["preprocessing"]):
        return []
    return [
        f"{listed(names)}: {PUBLISHED} was trained on {by(SHAPE)} voxels of {plain_number(SPACING_MM)} mm, and "
        f"`preprocessing.shape` and `spacing_mm` give {by(shape)} voxels of {plain_number(spacing_mm)} mm. The network accepts "
        "any grid, but its filters fit structures of the size in voxels that they were trained on."
    ]


def another_grid(preprocessing: dict) -> bool:
    """Whether a study's grid isn't that of the published weights."""
    return (tuple(preprocessing["shape"]), preprocessing["spacing_mm"]) != (SHAPE, SPACING_MM)


def published_file() -> SourceFile:
    """The published file in its source's table."""
    return read_source(source_table(PUBLISHED)).files["weights"]


def published_path(transfer: dict) -> str:
    """The path in a study of the published weights of an experiment's ``transfer``: one for each address."""
    return f"resources/{published_store(transfer)}/{published_file().name}"


def published_store(transfer: dict) -> str:
    """The folder in resources/ of that file."""
    return store_of({"source": PUBLISHED, "base_url": transfer.get("weights_url")})


def published_stores(experiments: dict[str, dict]) -> dict[str, str]:
    """Every such folder of a study, and the user's own address for it; empty for the published ones."""
    transfers = [experiment.get("transfer") or {} for experiment in experiments.values()]
    return {published_store(one): one.get("weights_url") or "" for one in transfers if one.get("weights") == PUBLISHED}
