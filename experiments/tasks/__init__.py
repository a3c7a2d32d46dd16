"""The data of the paper's downstream tasks (Section 5): faces, humans, glass, recorded or as open stand-ins.

``from experiments.tasks import Settings, prepare`` makes the data set of a split (:mod:`~experiments.tasks.preparation`).

- ``faces``: :mod:`~experiments.tasks.faces` puts flat prints of :mod:`~experiments.tasks.face_pictures` into rooms, which show
  :mod:`~experiments.tasks.portraits` of bodies;
- ``humans``: :mod:`~experiments.tasks.scans` stands textured meshes in the middle of the views: the user's scans, or
  :mod:`~experiments.tasks.bodies` with :mod:`~experiments.tasks.clothing` painted on their :mod:`~experiments.tasks.unwrapped`
  surface;
- ``heads``: these portraits from several places, for the training of a base model;
- ``glass``: :mod:`~experiments.tasks.glass` sets :mod:`~experiments.tasks.vessels` on a table;
- :mod:`~experiments.tasks.makers` chooses among them, :mod:`~experiments.tasks.naming` gives each scene its random stream;
- ``recordings/`` reads scenes that were recorded with a camera.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from experiments.tasks.preparation import Prepared, Recording, Settings, prepare
    from experiments.tasks.recordings.conventions import Conventions

__all__ = ["Conventions", "Prepared", "Recording", "Settings", "prepare"]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "preparation": ["Prepared", "Recording", "Settings", "prepare"],
        "recordings.conventions": ["Conventions"],
    },
)
