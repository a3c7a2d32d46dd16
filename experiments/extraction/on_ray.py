"""k adapters on the nodes of a Ray cluster: a task trains some, as soon as their data sets are finished."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.cluster.connection import connect
from experiments.cluster.elsewhere import Where, check_one_file_system, of_one_node, relay
from experiments.cluster.gangs import check_nodes, together
from experiments.cluster.messages import Shown
from experiments.cluster.settings import Ray
from experiments.cluster.tasks import LostError, Tasks
from experiments.data.production import dataset_name
from experiments.extraction.adapters import DONE, METRICS, AdapterRun, is_done, run, share, write_done
from experiments.extraction.base import with_base
from experiments.extraction.data import Data, make_data, open_data, rendering_of
from experiments.extraction.groups import Member, join_metrics, joined_losses
from experiments.extraction.prepared import prepare
from experiments.extraction.recipe import Recipe
from experiments.extraction.schedule import RENDERING, TRAINING
from experiments.extraction.settings import Settings
from experiments.mining.folder import SNAPSHOTS
from experiments.models import Base
from experiments.process.hosts import is_first
from experiments.process.reporting import SILENT, Reporter
from experiments.storage.files import read_json
from experiments.storage.identity import identity, stage_folder
from experiments.storage.locks import after_first_alone, alone
from experiments.storage.shared import fetch
from subspace.errors import InputError
from vggt_jax.atomic import new_path


def train_there(settings: Settings, cluster: Ray, base: Base, reporter: Reporter = SILENT) -> tuple[Data, Path]:
    """Render and train what is missing in the store, which all nodes see.

    Args:
        settings: what is asked for; ``plan.adapters_at_once`` are trained by one task, one by default.
        cluster: where.
        base: the model that is adapted; every node reads it for itself.
        reporter: is told of progress on all nodes.

    Returns:
        The data, and the folder that :func:`experiments.extraction.adapters.run` would have left.

    Raises:
        InputError: data sets that cannot be rendered, training that diverged, or adapters whose node was lost too often; the
            others are kept.
        OSError: something cannot be read or written.
    """
    connect(cluster, reporter)
    with (
        Shown(reporter) as shown,
        Tasks(cluster, train_part, of_one_node(), reporter) as tasks,
    ):
        if cluster.processes > 1:
            check_nodes(cluster, of_one_node())
        parts = _Parts(settings, cluster, base, tasks, shown.board)
        with reporter.stage(RENDERING):
            data = make_data(settings, reporter, finished=parts.finished)
        job = AdapterRun(base, data, Recipe.of(settings), settings.plan)
        folder = job.folder(settings.store)
        if is_done(folder):
            reporter.info(f"{len(job.names)} trained adapters found in {folder}")
            return data, folder
        reporter.info(f"training {settings.k} adapters on the cluster, {settings.training.steps} steps each")
        with reporter.stage(TRAINING):
            for number in range(settings.k):
                parts.finished(number)
            parts.train(reporter)
        with alone(folder, reporter, inside=True):
            if not is_done(folder):
                _put_together(job, [parts.folders[number] for number in range(settings.k)], folder)
        share(folder, job.names)
    return data, folder


class _Parts:
    """The adapters' tasks, each begun when its data sets are finished."""

    def __init__(self, settings: Settings, cluster: Ray, base: Base, tasks: Tasks, board: Any):
        self._settings, self._cluster, self._base, self._tasks, self._board = settings, cluster, base, tasks, board
        self._where = Where.here(settings)
        size = settings.plan.adapters_at_once or 1
        if cluster.processes > 1:  # whose devices share all adapters
            check_one_file_system(self._where.stores)
            size = settings.k
        every = range(settings.k)
        self._waiting = [tuple(every[first : first + size]) for first in every[::size]]
        self._there: set[int] = set()
        self.folders: dict[int, Path] = {}
        """Adapter → folder of the part that it is in, of those that are trained."""

    def finished(self, number: int) -> None:
        """A data set is there."""
        self._there.add(number)
        whole = self._settings.targets == "shuffled"  # their truths are those of other data sets
        if whole and len(self._there) < self._settings.k:
            return
        if self._cluster.processes > 1:
            return
        for places in [each for each in self._waiting if self._there.issuperset(each)]:
            self._waiting.remove(places)
            self._tasks.begin(places, *self._call(places))

    def _call(self, places: tuple[int, ...]) -> tuple[object, ...]:
        names = ", ".join(f"{self._settings.attribute} {place:02d}" for place in places)
        return self._where, self._settings, self._base.weights, places, self._board, names

    def train(self, reporter: Reporter) -> None:
        """Wait until all are trained, where all data sets are there."""
        if self._cluster.processes > 1:
            for places in self._waiting:
                made = together(self._cluster, train_part, self._call(places), of_one_node(), reporter)
                self.folders.update(dict.fromkeys(places, made))
            return
        lost: dict[int, str] = {}
        while len(self._tasks):
            for places, found in self._tasks.next(1.0):
                if isinstance(found, LostError):
                    lost.update(dict.fromkeys(places, str(found)))
                    reporter.warning(f"adapters {places}: {found}")
                else:
                    self.folders.update(dict.fromkeys(places, self._where.stores.arrived(found)))
        if lost:
            raise InputError(
                f"{len(lost)} of {self._settings.k} adapters could not be trained, such as {min(lost)} ({lost[min(lost)]}); "
                "the others are kept, and the same command goes on with the rest",
                argument="executor",
            )


def train_part(where: Where, settings: Settings, weights: str, places: Sequence[int], board: Any, name: str) -> Path:
    """A task: some of the k adapters on the devices of this node, or what an earlier try left of them; their folder."""
    where.enter()
    reporter = relay(board, name)
    settings = where.stores.here(settings)
    whole = settings.targets == "shuffled"
    for number in range(settings.k) if whole else places:
        fetch(rendering_of(settings).folder / dataset_name(number))
    plan = replace(settings.plan, adapters_at_once=len(places))
    settings, base = with_base(replace(settings, plan=plan), reporter)
    if base.weights != weights:
        raise InputError(f"weights={settings.weights} is another model on a node than here", argument="weights")
    job = AdapterRun(
        base, open_data(settings, range(settings.k) if whole else places), Recipe.of(settings), settings.plan
    )
    among = job.data if whole else None
    job = replace(job.of(places) if whole else job, among=among)
    folder = _folder_of(job, settings, places)
    with after_first_alone(folder, reporter):
        if not is_done(folder):
            prepared = prepare(base, job.recipe, job.data.settings, settings.k, settings.plan, places)
            run(job, folder, settings.store, reporter, prepared)
    if is_first():
        share(folder, job.names)
    return where.stores.there(folder)


def _folder_of(job: AdapterRun, settings: Settings, places: Sequence[int]) -> Path:
    """Where some of the k adapters are trained: named by what they depend on, which is less than what all depend on."""
    depends_on = {"k": settings.k, "places": list(places), "run": job.identity, "sha256": identity(job.data.sha256)}
    return stage_folder(settings.store, "adapter_parts", f"{settings.attribute}_{settings.setting}", depends_on)


def _put_together(job: AdapterRun, parts: Sequence[Path], folder: Path) -> None:
    """Leave in ``folder`` what training all adapters there would have left, but for checkpoints.

    Args:
        job: all adapters.
        parts: of each adapter the folder that it was trained in.
        folder: of all.
    """
    members = []
    for name, part in zip(job.names, parts, strict=True):
        record = read_json(part / DONE, dict)
        place = record["adapters"].index(name)
        losses = {when: {term: each[place] for term, each in record[when].items()} for when in ("before", "after")}
        members.append(Member(part, place, losses))
        file = f"{name}.safetensors"
        for made in (part / file, *part.glob(f"{SNAPSHOTS}/*/{file}")):
            with new_path(folder / made.relative_to(part)) as new:
                shutil.copyfile(made, new)
    join_metrics(members, METRICS, folder / METRICS)
    write_done(job, folder, joined_losses(members))
