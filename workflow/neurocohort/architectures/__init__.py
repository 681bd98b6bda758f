"""The networks that an experiment can name. Each module of this package has a table ``ARCHITECTURES`` of one family.

The modules are found here, so that a new one needs no entry elsewhere. The tables are used by the settings and their check, the
training, the features, the plan, the methods text and the MONAI bundle. See docs/networks.md.
"""

import pkgutil
from importlib import import_module
from types import ModuleType

from neurocohort.architectures.facts import MAP_TASKS, OWN, VALUE_TASKS, Architecture, Shape
from neurocohort.text import listed

__all__ = ["ARCHITECTURES", "MAP_TASKS", "OWN", "VALUE_TASKS", "Architecture", "Shape", "found_architectures"]


def found_architectures() -> dict[str, Architecture]:
    """The architectures of all modules of this package by name, those for values first. Raises ValueError for a repeated name."""
    found: dict[str, Architecture] = {}
    for module in pkgutil.iter_modules(__path__):
        own = {} if module.ispkg else getattr(import_module(f"{__name__}.{module.name}"), "ARCHITECTURES", {})
        if repeated := sorted(set(own) & set(found)):
            raise ValueError(
                f"architectures/{module.name}.py has {', '.join(repeated)}, as another module has; rename it."
            )
        found |= own
    return dict(sorted(found.items(), key=lambda one: (one[1].tasks != VALUE_TASKS, one[0])))


def module_of(architecture: Architecture) -> ModuleType:
    """The module of the network's class. Imported here alone: MONAI is slow, and `codehash` knows that this package searches."""
    return import_module(architecture.target.rpartition(".")[0])


def of_task(task: str) -> str:
    """The names of the networks for a task."""
    return listed(name for name, one in ARCHITECTURES.items() if task in one.tasks)


def with_option(option: str) -> str:
    """The names of the networks for which a field of `Architecture` is set."""
    return listed(name for name, one in ARCHITECTURES.items() if getattr(one, option))


def channels_taken() -> str:
    """What ``channels`` may have, for all networks."""
    by_phrase: dict[str, list[str]] = {}
    for name, one in ARCHITECTURES.items():
        by_phrase.setdefault(one.channels_taken, []).append(name)
    return "; ".join(f"{listed(names)}: {phrase}" for phrase, names in by_phrase.items())


ARCHITECTURES = found_architectures()
