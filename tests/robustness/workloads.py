"""Every command that writes, at a size that ends in seconds, and what is left of it."""

import json
import os
import re
import runpy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

VIEWS = 4
_TIMES = re.compile(
    r"(results|summary|index|record|manifest|done|held_out|group|run|analysis)\.json|report\.html|README\.md"
    r"|_CHECKPOINT_METADATA|commit_success\.txt"
)
"""Files that say when and how long; their content differs from run to run."""
REFUSES_AGAIN = ("merge", "convert")
"""Commands that write one new folder or file, and refuse one that is there."""
MAY_LOSE = re.compile(r"/raw/\d{6}\.exr$|/\.([^/]+\.)?lock$")
"""What a command goes on without, in paths that could not be written: a view of a scene, which is then rendered again; and who
has a lock, which holds all the same (a lock whose file cannot be made ends a command)."""


@dataclass(frozen=True)
class Workload:
    """A command that starts in an empty folder and leaves everything in it."""

    module: str
    arguments: tuple[str, ...]
    """With ``{work}`` for the inputs of :func:`make_inputs` and ``{here}`` for the folder."""
    prepare: Callable[[Path], Any] = lambda work: None
    """Makes everything small, in the process of the command; is given the inputs."""


def make_inputs(work: Path) -> None:
    """Data sets, a model, photos, LoRAs and mined attributes for all commands."""
    import numpy as np
    from flax import nnx
    from safetensors.numpy import save_file

    from experiments.rendering import runs
    from experiments.rendering.pool import LocalPool
    from tests.experiments.analysis.planted import draw_subspaces, write_subspace
    from tests.experiments.analysis.planted import factors as planted
    from tests.experiments.loras.made import factors, write
    from tests.experiments.reconstruction.test_reconstruct_command import picture
    from tests.experiments.rendering.small_scenes import COMMAND, SETTINGS, make_scene
    from tests.experiments.training import tiny
    from vggt_jax.deltas import dotted

    stored = {name: getattr(SETTINGS, name) for name in SETTINGS.__struct_fields__} | {"views": VIEWS}
    scene = partial(make_scene, views=VIEWS)
    runs.generate(work / "data", type(SETTINGS)(**stored), 2, 4, lambda: scene, lambda: LocalPool(COMMAND, 2))
    (work / "tiny").mkdir()
    tensors = {dotted(keys): np.asarray(leaf[...]) for keys, leaf in nnx.to_flat_state(tiny.draw_base()[1])}
    (bias,) = (name for name, value in tensors.items() if name.startswith("camera_head") and value.shape == (9,))
    tensors[bias] = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1], np.float32)
    save_file(tensors, work / "tiny" / "model.safetensors")
    (work / "tiny" / "config.json").write_text(json.dumps(tiny.CONFIG.to_dict()))
    (work / "photos").mkdir()
    for number in range(2):
        picture(100, 70, number).save(work / "photos" / f"{number}.png")
    for number in range(3):
        write(work / "loras" / f"lora_{number}", factors(number), base="some/model")
    shapes = {"aggregator.frame_blocks.attn.qkv": ((3,), 96, 64)}
    for seed, name in enumerate(("first", "second")):
        drawn = draw_subspaces(seed, shapes=shapes).items()
        write_subspace(work / "mined" / name, name, {path: planted(U, V, [4, 3, 2, 1]) for path, (U, V) in drawn})


def _shrink(work: Path) -> None:
    from tests.experiments.command_of_a_job import shrink, use_data

    shrink()
    use_data(work / "data")


def _pairs_for_nano(work: Path) -> None:
    """The shipped model, whose steps take two pictures of its own size."""
    from experiments.presets import PRESETS, Preset
    from experiments.rendering import runs
    from experiments.rendering.pool import LocalPool
    from tests.experiments.rendering.small_scenes import COMMAND, SETTINGS, make_scene

    usual = PRESETS["nano"]
    training = replace(usual.training, held_out=1, held_out_views=2, images=2, fewest_views=2, most_views=2)
    cast(dict[str, Preset], PRESETS)["nano"] = replace(usual, training=training)
    size = usual.rendering.resolution
    stored = {name: getattr(SETTINGS, name) for name in SETTINGS.__struct_fields__} | {
        "views": VIEWS,
        "resolution": size,
    }
    scene = partial(make_scene, views=VIEWS, size=size)
    runs.generate(work / "nano", type(SETTINGS)(**stored), 1, 4, lambda: scene, lambda: LocalPool(COMMAND, 2))


def _small_recipe(work: Path) -> None:
    from experiments.pretraining import recipe
    from tests.experiments.pretraining import small

    made = replace(small.recipe(), config=replace(small.recipe().config, image_size=20))
    cast(dict[str, Callable[[], recipe.Recipe]], recipe.RECIPES)["nano"] = lambda: made


def _planted_figures(work: Path) -> None:
    """The runs of a plan take no time; schedule, records, tables and page are the real ones."""
    from concurrent.futures import Future
    from types import SimpleNamespace

    from experiments.reproduction import pipeline
    from experiments.reproduction.inputs import RunInputs
    from tests.experiments.reproduction import planted

    class Done:
        at_once = 1

        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def wait(self, futures):
            return set(futures)

        def validation_loss(self, job):
            return _finished(abs(job.rate - 5e-4))

        def record(self, job):
            from experiments.presets import PRESETS
            from experiments.reproduction.scale import sizes

            made = planted.record(job.run, 1.0, ["test"])
            return _finished(replace_struct(made, sizes=sizes(PRESETS["nano"].scale, job.run.method, job.run.size)))

    def _finished(value):
        future: Future[Any] = Future()
        future.set_result(value)
        return future

    def replace_struct(struct, **changes):
        import msgspec

        return msgspec.structs.replace(struct, **changes)

    pipeline.Workers = Done
    pipeline.load_base = lambda *_: SimpleNamespace(label="nano (ab)", weights="cd")
    RunInputs.check = lambda self, plan: None
    RunInputs.dataset = lambda self, task, split: Path(task, split)
    RunInputs.sheet = lambda self, folder: planted.sheet("ab")
    RunInputs.subspaces = lambda self, wanted: tuple(Path(name) for name in wanted.attributes)


def _blender() -> str:
    from tests.experiments.rendering.small_scenes import STAND_IN

    return f"--blender={STAND_IN}"


_RENDERED = ("--views=2", "--resolution=20", "--seed=3", "{blender}")

WORKLOADS = {
    "extract": Workload(
        "experiments.extract",
        ("--k=2", "--rank=1", "--dim=1", "--weights={work}/tiny", "--store={here}/runs"),
        _shrink,
    ),
    "finetune": Workload(
        "experiments.finetune",
        (
            "--method=lora", "--rank=1", "--steps=3", "--weights={work}/tiny", "--data={work}/data/dataset_00",
            "--store={here}/runs", "--matrices=aggregator.*.attn.*",
        ),
        _shrink,
    ),
    "pretrain": Workload(
        "experiments.pretrain", ("--data={work}/data/dataset_00", "--store={here}/runs"), _small_recipe
    ),
    "reproduce": Workload("experiments.reproduce", ("--table=3", "--output={here}/results"), _planted_figures),
    "evaluate": Workload(
        "experiments.evaluate",
        ("--data={work}/data/dataset_00", "--weights={work}/tiny", "--views=0,1", "--store={here}/runs"),
    ),
    "reconstruct": Workload(
        "experiments.reconstruct", ("--images={work}/photos", "--weights={work}/tiny", "--store={here}/runs")
    ),
    "analyze": Workload(
        "experiments.analyze", ("--subspaces={work}/mined/first,{work}/mined/second", "--store={here}/runs")
    ),
    "generate": Workload(
        "experiments.generate", ("--datasets=2", "--scenes=2", *_RENDERED, "--output={here}/made", "--workers=2")
    ),
    "prepare": Workload(
        "experiments.prepare", ("--task=glass", "--scenes=2", *_RENDERED, "--output={here}/made", "--workers=2")
    ),
    "mine": Workload(
        "experiments.adapters", ("mine", "{work}/loras", "--dim=2", "--store={here}/runs")
    ),
    "merge": Workload("experiments.adapters", ("merge", "{work}/loras", "--output={here}/merged")),
    "convert": Workload("weights_convert", ("--to=official", "--input={work}/tiny", "--output={here}/vggt.safetensors")),
}  # fmt: skip
FOR_LONG_RUNS = {
    "finetune nano": Workload(
        "experiments.finetune",
        ("--method=lora", "--rank=1", "--data={work}/nano/dataset_00", "--store={here}/runs"),
        _pairs_for_nano,
    ),
}
"""Of a size that is worth nothing but a long run."""


def run(name: str, work: Path, here: Path, more: Sequence[str] = ()) -> None:
    """The command with ``more`` flags, in this process; ends as the command does. Any number of times, but of one command."""
    from absl.testing import flagsaver

    workload = (WORKLOADS | FOR_LONG_RUNS)[name]
    if name not in _PREPARED:
        workload.prepare(work)
        _PREPARED.append(name)
    places = {"work": str(work), "here": str(here), "blender": _blender()}
    sys.argv = [workload.module, *(argument.format(**places) for argument in workload.arguments), *more]
    flags = flagsaver.save_flag_values()
    try:
        runpy.run_module(workload.module, run_name="__main__", alter_sys=True)
    finally:
        flagsaver.restore_flag_values(flags)


_PREPARED: list[str] = []


def content(folder: Path) -> dict[str, str]:
    """Path → hash of every file that must not depend on how the command went, "" where it says times; link → target."""
    from experiments.storage.files import sha256

    links = {path: os.readlink(path) for path in folder.rglob("*latest") if path.is_symlink()}
    return {str(path.relative_to(folder)): name for path, name in links.items()} | {
        str(path.relative_to(folder)): "" if _TIMES.fullmatch(path.name) else sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def leftovers(folder: Path) -> list[str]:
    """What only a command that is running may have."""
    names = [str(path.relative_to(folder)) for path in folder.rglob("*")] if folder.exists() else []
    return [name for name in names if re.search(r"\.partial|\.lock|orbax-checkpoint-tmp", os.path.basename(name))]
