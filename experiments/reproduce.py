"""The paper's tables, made again: every row fine-tuned and evaluated, beside what the paper prints.

``python -m experiments.reproduce --table=2`` renders the task's data, mines the subspaces, chooses each method's learning
rate on validation scenes, fine-tunes and evaluates every row that has no record yet, and writes ``table_2.md``, ``.tex``,
``.csv``, a page (``README.md``) that also says which of the paper's claims hold, and ``records/`` with everything that was
measured. Tables share runs; ``--table=all`` runs each once. Interrupted, it goes on where it stopped; after every run the
tables are written anew. The page has all that the folder has records of: further tables and seeds join those that are there.

With ``--preset=nano`` a table is hours on two CPU cores, with ranks and dimensions scaled to the model and rendered
stand-ins for the data. ``--preset=vggt_1b`` is the paper's experiment. ``--dry_run`` prints what would be run and what it
costs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from absl import flags
from tqdm import tqdm

from experiments.presets import PRESETS, PresetName
from experiments.process.compilation_cache import keep_compiled
from experiments.process.cores import available_cores
from experiments.reproduction.plan import Plan, describe, make_plan
from experiments.reproduction.records import record_file
from experiments.reproduction.rows import TableName
from experiments.reproduction.scale import SCALES
from subspace.errors import InputError
from weights_convert.command_line import run

RECORDS = "records"
TABLES: tuple[TableName, ...] = get_args(TableName)


def reproduce(
    plan: Plan,
    preset: PresetName,
    weights: str,
    store: Path,
    output: Path,
    command: str,
    data: Path,
    at_once: int = 1,
    workers: int | None = None,
    blender: str | None = None,
) -> str:
    """Run the command.

    Args:
        plan: what :func:`experiments.reproduction.plan.make_plan` returned.
        preset: of data, extraction and fine-tuning.
        weights: of the base model.
        store: of data sets, adapters and runs, shared with other commands.
        output: of tables and records; what has a record there is not run again.
        command: for the page, how it was made.
        data: folder of ``TASK/SPLIT/dataset_00``, the user's own, where they are there.
        at_once: fine-tunings, in processes of their own if there are several.
        workers: Blender processes.
        blender: an installed Blender.

    Returns:
        The tables, and one line that says what was written.

    Raises:
        ValueError, OSError: what is wrong with records, data, weights or the disk.
    """
    from experiments.models import load_base
    from experiments.reproduction.data import Materials
    from experiments.reproduction.places import Places
    from experiments.reproduction.records import read_searches
    from experiments.reproduction.results import PAGE, write_results
    from experiments.reproduction.schedule import Schedule
    from experiments.reproduction.tables import markdown, measure

    base = load_base(weights, PRESETS[preset].rendering.resolution, PRESETS[preset].training)
    try:
        (output / RECORDS).mkdir(parents=True, exist_ok=True)
    except OSError as error:  # now, not after the first run
        raise OSError(f"cannot write to --output={output}: {error.strerror}") from None
    materials = Materials(preset, plan.scale, weights, store, data, _say, workers, blender)
    schedule = Schedule(plan, base.label, materials, output / RECORDS, _say)
    shown, done = schedule.collected()
    there = sum(run in done for run in plan.runs)
    bar = tqdm(total=len(plan.runs), initial=there, desc="runs", unit="run", disable=None)
    with bar, Places(at_once, preset, plan.scale, weights, base, store, _say) as places:
        for each, record in schedule(places, at_once):
            done[each] = record
            bar.update()
            write_results(output, shown, done, read_searches(output / RECORDS), command)
    write_results(output, shown, done, read_searches(output / RECORDS), command)
    tables = [
        f"Table {table.name}. {table.title}\n\n{markdown(measure(table, plan.scale, shown.seeds, done))}"
        for table in plan.tables
    ]
    return "\n".join(
        [*tables, f"wrote {len(shown.tables)} table(s) of {len(done)} runs to {output}; see {output / PAGE}"]
    )


def _places() -> int:
    """Fine-tunings at a time: on a CPU one for each core and 3 GB, as one alone fills a second core by a fifth only."""
    import jax

    if jax.default_backend() != "cpu":
        return 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(len(available_cores()), int(memory / 3e9)))


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS
    names: list[TableName] = list(TABLES) if given.table == "all" else [given.table]
    try:
        seeds = [int(seed) for seed in given.seeds]
    except ValueError:
        raise InputError(f"--seeds={','.join(given.seeds)}: numbers with commas between them, such as 0,1,2") from None
    if not seeds or min(seeds) < 0:
        raise InputError("--seeds: name at least one seed, none below 0")
    plan = make_plan(names, seeds, SCALES[given.preset])
    for line in describe(plan):
        _say(line)
    output = Path(given.output or f"results/{given.preset}")
    there = [run for run in plan.runs if record_file(output / RECORDS, run).exists()]
    if there:
        _say(f"{len(there)} of {len(plan.runs)} runs have a record in {output}; another --output would run them again")
    if given.dry_run:
        print("\n".join(each.name + "  (has a record)" * (each in there) for each in plan.runs))
        return
    keep_compiled()
    weights = PRESETS[given.preset].weights if given.weights is None else given.weights
    asked = f"--table={given.table} --preset={given.preset} --seeds={','.join(map(str, seeds))}"
    command = f"python -m experiments.reproduce {asked}"
    if given.data is not None and not Path(given.data).is_dir():
        raise InputError(f"--data={given.data} is no folder")
    store = Path(given.store)
    data = store / "tasks" if given.data is None else Path(given.data)
    at_once = given.at_once or _places()
    print(reproduce(plan, given.preset, weights, store, output, command, data, at_once, given.workers, given.blender))


if __name__ == "__main__":
    flags.DEFINE_enum("table", "2", [*TABLES, "all"], "the paper's table; s1 is the supplement's")
    flags.DEFINE_enum("preset", "nano", list(PRESETS), "nano: hours on a CPU; vggt_1b: the paper's experiment")
    flags.DEFINE_list("seeds", ["0"], "of fine-tuning (what is drawn, order of the data), with commas")
    flags.DEFINE_string(
        "weights",
        None,
        "the base model, as for experiments.extract; by default nano, or for vggt_1b hf:facebook/VGGT-1B",
    )
    flags.DEFINE_string(
        "data",
        None,
        "folder of your own data sets, as TASK/SPLIT/dataset_00 (faces, humans, glass; train, test, cross_domain), by default "
        "tasks in the store; what it lacks is rendered",
    )
    flags.DEFINE_string("store", "runs", "folder of data sets, adapters and runs, shared by commands")
    flags.DEFINE_string(
        "output", None, "folder of tables and records, by default results/PRESET; completed if it is there"
    )
    flags.DEFINE_boolean("dry_run", False, "print the runs and what they cost, and stop")
    flags.DEFINE_integer(
        "at_once",
        None,
        "fine-tunings at a time, 2 to 3 GB each for nano; by default one for each core of a CPU, or 1",
        lower_bound=1,
    )
    flags.DEFINE_integer("workers", None, "Blender processes; by default one for each core", lower_bound=1)
    flags.DEFINE_string(
        "blender", None, "an installed Blender 4.5 or 5.0, or a Python with bpy; by default uv makes an environment"
    )
    run(main)
