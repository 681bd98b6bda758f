"""The networks over the sessions of a participant. A module of this package is a network; its name is that of the module.

A module has ``TITLE``, its name in the methods text with the reference, and the class ``SessionNetwork``, which is made with
``inputs`` (columns of a session), ``width``, ``layers`` and ``dropout``. It is called with

- ``values``: (participants, sessions, columns) float32, the earliest session first, padded at the end;
- ``years``: (participants, sessions) float32, since the first session;
- ``mask``: (participants, sessions) bool, False in the padding,

and returns (participants,) float32: the standardised target, or the logit of class 1. The padding must not change the result.

The modules are found here, so that a new one needs no entry elsewhere. They import torch; this file doesn't, since every
Snakemake process reads it.
"""

import pkgutil
from importlib import import_module
from types import ModuleType

SESSION_NETWORKS = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def network_module(name: str) -> ModuleType:
    """The module of a network of `SESSION_NETWORKS`."""
    return import_module(f"{__name__}.{name}")
