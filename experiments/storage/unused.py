"""Objects of a shared store that nothing refers to: what was published before, and what a machine that died had uploaded."""

from __future__ import annotations

from experiments.storage import leases
from experiments.storage.copies import OBJECTS
from experiments.storage.shared import SharedStore
from subspace.errors import InputError

KEPT_S = 24 * 3600.0
"""Seconds that an object stays in any case: the folder that it is for may not be published yet."""


def unused(store: SharedStore, kept: float = KEPT_S) -> dict[str, int]:
    """Name → bytes of the objects that no published folder has and that are older than ``kept`` seconds.

    Raises InputError for a damaged object, and OSError for a store that does not answer.
    """
    found = store.objects.sizes(OBJECTS)
    for name in store.names():
        if (published := store.published(name)) is not None:
            for file in published.files.values():
                found.pop(file.object, None)
    return {name: size for name, size in found.items() if store.objects.age(name) > kept}


def sweep(store: SharedStore, kept: float = KEPT_S) -> dict[str, int]:
    """Delete them, and say what they were.

    Raises InputError while somebody works in the store, who may be about to publish one of them.
    """
    for name, lease in leases.running(store.objects).items():
        if not lease.is_lost:
            raise InputError(f"{lease} works at {name}; nothing was deleted, try again later", argument="sweep")
    found = unused(store, kept)
    for name in found:
        store.objects.delete(name)
    return found
