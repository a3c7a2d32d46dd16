"""The subspace of one attribute: data sets in which it varies, a LoRA adapter on each, and what the adapters share.

``python -m experiments.extract --attribute=geometry`` renders k data sets, trains k adapters of the base model at once,
mines their shared subspace in every adapted matrix (IRLS, Eq. 1–3 of the paper) and writes ``subspace.safetensors``, the
adapters, ``metrics.jsonl``, ``summary.json``, figures and ``report.html``. With ``--adapters=A,B,…`` it takes finished
adapters instead, this project's or PEFT's, of any model.

Interrupted, it goes on where it stopped; a changed setting redoes only what depends on it, and other commands find the same
data sets and adapters again (``--store``).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from absl import flags

from experiments.extraction.presets import PRESETS, Preset
from experiments.synthetic.schema import Setting
from weights_convert.command_line import run

ATTRIBUTES = ("texture", "geometry", "camera", "lighting")
OUTPUTS = frozenset({"subspace.safetensors", "adapters", "metrics.jsonl", "summary.json", "figures", "report.html"})


@dataclass(frozen=True)
class Choice:
    """What the user asked for."""

    attribute: str
    setting: Setting
    preset: Preset
    weights: str | None
    k: int
    alpha: float
    init: str
    seed: int
    adapters: tuple[str, ...]
    store: Path
    workers: int | None
    blender: str | None


def extract(choice: Choice, output: Path) -> None:
    """Run the command.

    Raises ValueError and OSError for everything that is wrong with settings, data, weights, adapters or the disk.
    """
    from experiments.mining.mine import check_dim
    from experiments.output_folder import check_free, new_folder
    from subspace.shared import EPSILON, MAX_ITERATIONS, TOLERANCE, check_options

    check_free(output, True, OUTPUTS)
    check_options(choice.alpha, EPSILON, MAX_ITERATIONS, TOLERANCE)
    if (
        not choice.adapters
    ):  # before hours of rendering and training; of finished adapters it is seen when they are read
        check_dim(choice.preset.dim, choice.k, choice.preset.rank)
    start = time.perf_counter()
    facts: dict[str, str] = {"attribute": choice.attribute, "exponent α": f"{choice.alpha:g}"}
    if choice.adapters:
        from experiments.extraction.imported import read_adapters
        from weights_convert import read_config

        config = None if choice.weights is None else read_config(choice.weights)
        deltas, base_name = read_adapters(choice.adapters, config)
        sections, sources, metrics, learned = [], {}, None, None
        facts["adapters"] = ", ".join(choice.adapters)
    else:
        from experiments.extraction.adapters import make_adapters, stacked_deltas
        from experiments.extraction.base import load_base
        from experiments.extraction.data import make_data
        from experiments.extraction.report import data_section, training_section
        from experiments.extraction.report import learned as say_learned

        assert choice.weights is not None
        _say(f"base model: {choice.weights}")
        base = load_base(choice.weights, choice.preset)
        _say(f"data: {choice.k} data sets in which the {choice.attribute} varies")
        data = make_data(
            choice.store,
            choice.attribute,  # pyright: ignore[reportArgumentType]
            choice.setting,
            choice.preset,
            choice.k,
            choice.seed,
            choice.workers,
            choice.blender,
        )
        trained = make_adapters(choice.store, base, data, choice.preset, choice.init, choice.seed, _say)  # pyright: ignore
        deltas = stacked_deltas(trained.adapters)
        sections = [data_section(data), training_section(trained)]
        sources = {name: trained.folder / f"{name}.safetensors" for name in deltas}
        metrics, learned = trained.folder / "metrics.jsonl", say_learned(trained)
        base_name = f"{base.identity.name} ({base.identity.fingerprint})"
        facts |= {
            "setting": choice.setting,
            "input factors drawn": choice.init,
            "seed": str(choice.seed),
            "data sets": str(data.folder),
            "trained adapters": str(trained.folder),
            **{f"preset: {name}": str(value) for name, value in asdict(choice.preset).items() if name != "datasets"},
        }
    facts["base model"] = base_name

    from experiments.mining.files import Origin, save_subspace
    from experiments.mining.mine import mine, stack_adapters
    from experiments.mining.report import compose, draw_figures, print_table, verdict
    from experiments.mining.summary import rows

    stacks = stack_adapters(deltas)
    _say(f"mining {sum(stack.A[0, ..., 0, 0].size for stack in stacks.values())} matrices of {len(deltas)} adapters")
    mined = mine(stacks, choice.preset.dim, alpha=choice.alpha)
    summaries = rows(mined)
    origin = Origin(choice.attribute, base_name, choice.preset.dim, choice.alpha, list(deltas))
    facts |= {"d'": str(choice.preset.dim), "k": str(len(deltas)), "seconds": f"{time.perf_counter() - start:.0f}"}
    title = (
        f"The {choice.attribute} subspace of {base_name.split(' ')[0]}" if not choice.adapters else "A shared subspace"
    )
    with new_folder(output, True, OUTPUTS) as folder:
        save_subspace(folder / "subspace.safetensors", mined.subspaces, origin)
        (folder / "adapters").mkdir()
        for name, source in sources.items():
            shutil.copyfile(source, folder / "adapters" / f"{name}.safetensors")
        if metrics is not None:
            shutil.copyfile(metrics, folder / "metrics.jsonl")
        summary: dict[str, Any] = {"facts": facts, "origin": asdict(origin), "verdict": verdict(summaries)}
        if learned is not None:
            summary["learned"] = learned
        summary["matrices"] = [asdict(row) for row in summaries]
        (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        (folder / "figures").mkdir()
        figures = draw_figures(list(deltas), mined)
        for name, (drawing, _) in figures.items():
            for form in ("png", "pdf"):
                drawing.savefig(folder / "figures" / f"{name}.{form}", dpi=200)
        html = compose(title, mined, figures, sections, facts)
        (folder / "report.html").write_text(html, encoding="utf-8")
    print(print_table(summaries))
    if learned is not None:
        print(learned)
    print(verdict(summaries))
    print(f"wrote {output} in {time.perf_counter() - start:.0f} s; open {output}/report.html")


def choose(given: Mapping[str, Any], store: Path) -> Choice:
    """The command's flags as one value; raises ValueError for those that contradict each other."""
    preset = PRESETS[given["preset"]]
    changes = {name: given[name] for name in ("rank", "dim", "steps") if given[name] is not None}
    if "rank" in changes:
        changes["alpha"] = float(changes["rank"])
    adapters = tuple(given["adapters"] or ())
    weights = given["weights"]
    if weights is None and not adapters:
        weights = preset.weights
    return Choice(
        attribute=given["attribute"],
        setting=given["setting"],
        preset=replace(preset, **changes),
        weights=weights,
        k=preset.datasets[given["setting"]] if given["k"] is None else given["k"],
        alpha=given["alpha"],
        init=given["init"],
        seed=given["seed"],
        adapters=adapters,
        store=store,
        workers=given["workers"],
        blender=given["blender"],
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS.flag_values_dict()
    store = Path(given["store"])
    choice = choose(given, store)
    output = given["output"] or store / "extract" / (
        "imported" if choice.adapters else f"{choice.attribute}_{choice.setting}_{given['preset']}"
    )
    extract(choice, Path(os.path.abspath(output)))


if __name__ == "__main__":
    flags.DEFINE_enum("attribute", "geometry", list(ATTRIBUTES), "what varies within the data sets")
    flags.DEFINE_enum(
        "setting",
        "object_centric",
        list(get_args(Setting)),
        "cameras around objects, or in a room: hardly moving, or about",
    )
    flags.DEFINE_enum("preset", "nano", list(PRESETS), "nano: minutes on a CPU; vggt_1b: the paper's numbers")
    flags.DEFINE_string(
        "weights",
        None,
        "the base model, a converted or official VGGT: a file, a folder, hf:OWNER/NAME, or nano, the small one that is "
        "shipped; by default nano, or for vggt_1b hf:facebook/VGGT-1B",
    )
    flags.DEFINE_integer("k", None, "data sets and adapters (nano 5, vggt_1b 5 or 10)", lower_bound=2)
    flags.DEFINE_integer("rank", None, "r of the adapters (nano 8, vggt_1b 16)", lower_bound=1)
    flags.DEFINE_integer("dim", None, "d' of the shared subspace, at most k·r (nano 8, vggt_1b 16)", lower_bound=1)
    flags.DEFINE_integer("steps", None, "training steps of each adapter (nano 200, vggt_1b 24,000)", lower_bound=1)
    flags.DEFINE_float("alpha", 1.0, "exponent of Eq. 1 in (0, 2]: 1 is robust to outliers, 2 is the plain mean")
    flags.DEFINE_enum(
        "init",
        "independent",
        ["independent", "shared"],
        "the adapters' random input factors: drawn for each, or one draw for all, which by itself makes them share one side",
    )
    flags.DEFINE_list("adapters", None, "finished adapters instead of training: files, or PEFT folders, with commas")
    flags.DEFINE_integer("seed", 0, "of data, factors and batches", lower_bound=0)
    flags.DEFINE_string("store", "runs", "folder of data sets and adapters, shared by commands")
    flags.DEFINE_string("output", None, "folder of the results; by default below the store, replaced if it is there")
    flags.DEFINE_integer("workers", None, "Blender processes; by default one for each core", lower_bound=1)
    flags.DEFINE_string("blender", None, "an installed Blender, or a Python with bpy; by default uv makes one")
    run(main)
