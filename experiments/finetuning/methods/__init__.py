"""The ways of fine-tuning: a file of this package for each, found here by its presence.

``METHODS["lora"]`` is the class :class:`experiments.finetuning.methods.lora.LoRA`, whose instances are its settings;
:mod:`experiments.finetuning.method` says how to add one.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from inspect import getmembers, isclass
from pkgutil import iter_modules

from experiments.finetuning.method import Method


def _methods() -> Mapping[str, type[Method]]:
    """By name, in the order of the files' names."""
    found: dict[str, type[Method]] = {}
    for module in sorted(iter_modules(__path__), key=lambda module: module.name):
        content = import_module(f"{__name__}.{module.name}")
        for _, kind in getmembers(content, isclass):
            if issubclass(kind, Method) and kind.__module__ == content.__name__:
                if kind.name in found:
                    raise TypeError(f"{found[kind.name]} and {kind} have one name, {kind.name}")
                found[kind.name] = kind
    return found


METHODS: Mapping[str, type[Method]] = _methods()
"""Every method by its name."""
