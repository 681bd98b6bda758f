"""Checks of the network of an experiment: its options, its channels and the grid."""

import math
from collections.abc import Iterator

from neurocohort.architectures import ARCHITECTURES, MAP_TASKS, Architecture
from neurocohort.study.messages import listed

SMALLEST_PATCH = 4  # voxels: of those that a message recommends


def network_faults(key: str, experiment: dict, shape: list[int]) -> Iterator[str]:
    """Yield a sentence for each conflict of an experiment's network with its task and with the grid, or patch, of ``shape``."""
    task, name, channels = experiment["task"], experiment["network"]["name"], experiment["network"]["channels"]
    network, place = ARCHITECTURES[name], f"{key}.network.channels"
    grid = f"{key}.training.patch" if experiment["training"]["patch"] else "preprocessing.shape"
    if task not in network.tasks:
        fitting = [other for other, one in ARCHITECTURES.items() if task in one.tasks]
        yield f"`{key}.network.name` is `{name}`, which isn't for {task}; expected one of {listed(fitting)}."
        return
    yield from _option_faults(f"{key}.network", experiment["network"], network)
    if channels and not network.fewest <= len(channels) <= network.most:
        if not network.most:
            yield f"`{place}` is given, and {name} has fixed channels; leave the key out."
        else:
            count = f"{network.fewest}" if network.fewest == network.most else f"{network.fewest} to {network.most}"
            yield f"`{place}` has {len(channels)} value{'s' * (len(channels) > 1)}; {name} expects {count}."
        return
    if channels and channels[0] % network.multiple_of:
        yield f"`{place}` is {channels}; {name} expects a multiple of {network.multiple_of}."
    if network.equal_widths and len(set(channels)) > 1:
        yield f"`{place}` is {channels}; {name} has the same number in all of its levels: expected one number, repeated."
    if network.patch_size:
        yield from _patch_faults(key, experiment, grid, shape)
    elif task in MAP_TASKS:
        yield from _map_faults(key, name, network.levels(channels), grid, shape)
    else:
        yield from _value_faults(key, experiment, grid, shape)


def _option_faults(key: str, given: dict, network: Architecture) -> Iterator[str]:
    """Options that the network hasn't."""
    name = given["name"]
    if (dropout := given["dropout"]) and not network.has_dropout:
        yield f"`{key}.dropout` is {dropout:g}, and {name} has no dropout; leave the key out, or use {_with('has_dropout')}."
    if (norm := given["norm"]) != "batch" and not network.has_norm:
        yield f"`{key}.norm` is {norm}, and {name} has a fixed norm; leave the key out, or use {_with('has_norm')}."
    if given["deep_supervision"] and not network.has_deep_supervision:
        others = _with("has_deep_supervision")
        yield f"`{key}.deep_supervision` is true, which is for {others}, and not for {name}; leave the key out."
    if (size := given.get("patch_size")) and not network.patch_size:
        yield f"`{key}.patch_size` is {size}, and {name} has no patches; leave the key out, or use {_with('patch_size')}."


def _with(option: str) -> str:
    return listed([name for name, one in ARCHITECTURES.items() if getattr(one, option)])


def _patch_faults(key: str, experiment: dict, grid: str, shape: list[int]) -> Iterator[str]:
    """Where a transformer's patches don't divide the grid, or half of it."""
    name, coarse = experiment["network"]["name"], experiment["training"]["coarse_epochs"]
    given = experiment["network"].get("patch_size") or ARCHITECTURES[name].patch_size or 1
    step = given * (2 if coarse else 1)
    if all(side % step == 0 for side in shape):
        return
    near = [math.ceil(side / step) * step for side in shape]
    common = math.gcd(*shape) // (2 if coarse else 1)
    sizes = [size for size in range(SMALLEST_PATCH, common + 1) if common % size == 0]
    yield (
        f"`{grid}` is {shape}, and {name} divides it into patches of {given} voxels a side (`{key}.network.patch_size`)"
        f"{f', also where `{key}.training.coarse_epochs` halves the grid' if coarse else ''}; expected multiples of {step}, such "
        f"as {near}{f', or a `patch_size` of {listed(sizes)}' if sizes else ''}."
    )


def _value_faults(key: str, experiment: dict, grid: str, shape: list[int]) -> Iterator[str]:
    """Where a network for values has no voxel left, or a single one."""
    name, channels = experiment["network"]["name"], experiment["network"]["channels"]
    network = ARCHITECTURES[name]
    halvings = network.levels(channels)
    step = 2**halvings
    single = max(shape) <= step if network.pads else max(shape) < 2 * step
    if min(shape) < step and not network.pads:
        yield (
            f"`{grid}` is {shape}, and {name} halves it {halvings} times (`{key}.network`); expected sides of at "
            f"least {step} voxels, or a network with fewer levels."
        )
    elif experiment["training"]["coarse_epochs"] and min(shape) < 2 * step and not network.pads:
        yield (
            f"`{key}.training.coarse_epochs` halves `{grid}` {shape}, and {name} halves it {halvings} times more; expected "
            f"sides of at least {2 * step} voxels, or no coarse epochs."
        )
    elif halvings and single:
        remedy = f"at most {halvings} `channels`" if network.most > 1 else "another network"
        yield (
            f"`{grid}` is {shape}, and {name} halves it {halvings} times (`{key}.network.channels`) to a single voxel, so that "
            f"nothing is averaged over the brain; expected a grid of at least {[step, 2 * step, step]}, or {remedy}."
        )


def _map_faults(key: str, name: str, halvings: int, grid: str, shape: list[int]) -> Iterator[str]:
    """Where a network for label maps can't halve the grid, or leaves a single voxel."""
    step = 2**halvings
    if any(side % step for side in shape):
        near = [math.ceil(side / step) * step for side in shape]
        yield (
            f"`{grid}` is {shape}, and {name} halves it {halvings} times (`{key}.network`); expected multiples of "
            f"{step}, such as {near}."
        )
    elif ARCHITECTURES[name].has_instance_norm and halvings and max(shape) < 2 * step:
        yield (
            f"`{grid}` is {shape}, and {name} halves it {halvings} times (`{key}.network`) to a single voxel, which can't be "
            f"normalised; expected a larger one, such as {[step, 2 * step, step]}."
        )
