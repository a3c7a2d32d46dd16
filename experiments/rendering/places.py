"""Where scenes are rendered: on the cores of this machine, or on the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from experiments.cluster.settings import Ray
from experiments.process.cores import available_cores
from experiments.process.memory import free_on_host
from experiments.process.reporting import SILENT, Reporter
from experiments.rendering.blender_command import worker_command
from experiments.rendering.pool import Executor, LocalPool, check_memory, memory_of_worker


@dataclass(frozen=True)
class Place:
    """Where, and with what."""

    cluster: Ray | None
    """The cluster; None for this machine."""
    blender: str | None
    """There: see :func:`experiments.rendering.blender_command.worker_command`."""
    workers: int | None
    """Scenes at a time; None for what there is."""
    resolution: int
    """Width and height of the pictures in pixels."""
    scratch: Path
    """Folder for temporary files, of this machine's workers."""

    def check(self, scenes: int) -> None:
        """Raises InputError if this machine has too little memory for the workers; of a cluster Ray sees to that."""
        if self.cluster is None:
            check_memory(self.workers, scenes, self.resolution, free_on_host())

    def executor(
        self, reporter: Reporter = SILENT, meanwhile: Callable[[], object] = lambda: None
    ) -> AbstractContextManager[Executor]:
        """What renders; ``meanwhile`` is called once or twice, when Blender, or what makes its environment, was found.

        Raises InputError if there is no Blender.
        """
        if self.cluster is not None:
            from experiments.rendering.on_ray import RayPool

            meanwhile()
            return RayPool(self.cluster, self.blender, self.workers, memory_of_worker(self.resolution), reporter)
        workers = len(available_cores()) if self.workers is None else self.workers
        command = worker_command(self.blender, reporter, meanwhile)
        meanwhile()
        return LocalPool(command, workers, scratch=self.scratch)
