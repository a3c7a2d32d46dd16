"""From descriptions of scenes to data sets: Blender in processes of its own, on this machine or many.

- :mod:`~experiments.rendering.attribute_data`: data sets in which one attribute varies; ``from experiments.rendering import
  Settings, generate``;
- :mod:`~experiments.rendering.runs`: any data sets, from a maker of scenes to manifests, picking up what an earlier run left;
- :mod:`~experiments.rendering.jobs`: one scene, from its description to its folder;
- :mod:`~experiments.rendering.pool`: many scenes on the cores of one machine, behind a small interface, and
  :mod:`~experiments.rendering.on_ray`: on the nodes of a Ray cluster; :mod:`~experiments.rendering.places` chooses;
- :mod:`~experiments.rendering.worker_process`, :mod:`~experiments.rendering.pinned` and
  :mod:`~experiments.rendering.blender_command`: one renderer in a process of its own, and how it is started;
- ``blender/``: the program that runs inside Blender, which imports nothing of this project;
- :mod:`~experiments.rendering.region` and :mod:`~experiments.rendering.export`: the part of a view that is evaluated, and the
  geometry of a scene for other tools.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from experiments.rendering.attribute_data import Generated, Settings, generate

__all__ = ["Generated", "Settings", "generate"]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs={"attribute_data": __all__})
