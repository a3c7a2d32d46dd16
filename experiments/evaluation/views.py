"""Which views of a scene are evaluated: committed lists, so that results of different days can be compared."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from experiments.data.manifest import Task
from subspace.errors import InputError
from vggt_jax.reading import typed


class ViewList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of ``views.json``."""

    of: int
    """Number of views of the scenes that the list was made for."""
    views: tuple[int, ...]
    """Numbers of the views in the order in which the model sees them; the first is its reference."""
    what: str
    """What the list is for, in words."""
    default: bool = True
    """Whether the list is taken for scenes with so many views where no other is named."""
    tasks: tuple[Task, ...] = ()
    """Tasks whose scenes take this list before lists that are for any task; empty for any."""


@cache
def view_lists() -> dict[str, ViewList]:
    """The committed lists by name."""
    return typed.decode(Path(__file__).with_name("views.json").read_bytes(), dict[str, ViewList])


def choose_views(asked_for: str | None, num_views: int, task: Task | None = None) -> tuple[int, ...]:
    """The views to evaluate of scenes with ``num_views`` views.

    Args:
        asked_for: the name of a committed list, or numbers with commas; by default the list made for so many views.
        num_views: of a scene.
        task: whose data it is, if any one's.

    Raises:
        InputError: there is no such list, or it does not suit the scenes.
    """
    lists = view_lists()
    if asked_for is None:
        suited = [found for found in lists.values() if found.default and found.of == num_views]
        for found in [*(each for each in suited if task in each.tasks), *(each for each in suited if not each.tasks)]:
            return found.views
        raise InputError(
            f"no list of views was made for scenes with {num_views}; name one of {', '.join(lists)}, or numbers",
            argument="views",
        )
    if asked_for in lists:
        views = lists[asked_for].views
    else:
        try:
            views = tuple(int(number) for number in asked_for.split(","))
        except ValueError:
            raise InputError(
                f"views={asked_for} is none of {', '.join(lists)}, nor numbers with commas between them"
            ) from None
    if len(set(views)) != len(views):
        raise InputError(f"views={asked_for} names a view twice")
    if missing := [view for view in views if not 0 <= view < num_views]:
        raise InputError(f"views={asked_for}: the scenes have views 0 to {num_views - 1}, not {missing[0]}")
    return views
