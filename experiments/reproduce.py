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
from collections.abc import Sequence
from typing import get_args

from absl import flags

from experiments.cluster.flags import DEFINE_executor, executor_of
from experiments.presets import PRESETS
from experiments.process.command_line import DEFINE_path, DEFINE_path_or_name, InputError, run
from experiments.process.cores import available_cores
from experiments.process.reporting import console
from experiments.reproduction import rows
from experiments.reproduction.cost import describe
from experiments.reproduction.plan import Minings, RatesFor, ValidateOn
from experiments.reproduction.rows import TableName
from experiments.reproduction.settings import Settings
from experiments.storage.store_flags import DEFINE_store

TABLES: tuple[TableName, ...] = get_args(TableName)
PAPERS: tuple[TableName, ...] = tuple(rows.TABLES)


def _usual_at_once() -> int:
    """Fine-tunings at a time: on a CPU one for each core and 3 GB, as one alone fills a second core by a fifth only."""
    import jax

    if jax.default_backend() != "cpu":
        return 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(len(available_cores()), int(memory / 3e9)))


def _settings() -> Settings:
    given, executor = flags.FLAGS, executor_of()
    try:
        seeds = tuple(int(seed) for seed in given.seeds)
    except ValueError:
        raise InputError(f"--seeds={','.join(given.seeds)}: numbers with commas between them, such as 0,1,2") from None
    return Settings(
        tables=PAPERS if given.table == "all" else (given.table,),
        seeds=seeds,
        minings=given.minings,
        rates_for=given.rates_for,
        validate_on=given.validate_on,
        preset=given.preset,
        weights=given.weights,
        data=given.data,
        store=given.store,
        output=given.output,
        overwrite=given.overwrite,
        at_once=given.at_once or (1 if given.dry_run or executor is not None else _usual_at_once()),
        workers=given.workers,
        blender=given.blender,
        executor=executor,
    )


def _command() -> str:
    """The command with all that decides what its figures mean."""
    given = flags.FLAGS
    asked = {"table": given.table, "preset": given.preset, "seeds": ",".join(given.seeds)}
    others = ("weights", "minings", "rates_for", "validate_on", "data")
    asked |= {name: given[name].value for name in others if given[name].value != given[name].default}
    return " ".join(["python -m experiments.reproduce", *(f"--{name}={value}" for name, value in asked.items())])


def main(_: Sequence[str]) -> None:
    given, settings, reporter = flags.FLAGS, _settings(), console()
    from experiments.reproduction.pipeline import check, left  # now, as --help should not wait for it

    base = f"base model {settings.base_weights}; tables and records in {settings.folder}"
    if given.dry_run:
        cost = left(settings)
        for line in (base, *describe(cost)):
            reporter.info(line)
        print("\n".join(each.name + "  (has a record)" * (each in cost.done) for each in settings.plan.runs))
        return
    check(settings)
    reporter.info(base)
    from experiments.process.compilation_cache import keep_compiled
    from experiments.reproduction import reproduce
    from experiments.reproduction.tables import markdown

    keep_compiled()
    found = reproduce(settings, reporter, command=_command())
    for measured in found.tables:
        print(f"{measured.table.heading}\n\n{markdown(measured)}")
    print(f"wrote {len(found.shown.tables)} table(s) of {len(found.records)} runs to {found.folder}; see {found.page}")


if __name__ == "__main__":
    flags.DEFINE_enum(
        "table",
        "2",
        [*TABLES, "all"],
        "the paper's table; s1 is the supplement's, all are the paper's; controls: on glass, mined directions beside random, "
        "gradient, pooled and shuffled ones, singular vectors, the mean adapter, and directions that are mined otherwise",
    )
    flags.DEFINE_enum(
        "minings",
        "one",
        list(get_args(Minings)),
        "one: all seeds share a mining; each: every seed has data, adapters and subspaces of its own",
    )
    flags.DEFINE_enum(
        "rates_for",
        "method",
        list(get_args(RatesFor)),
        "what learning rates are searched for: the smallest row of a method in any table, or each row",
    )
    flags.DEFINE_enum(
        "validate_on",
        "training",
        list(get_args(ValidateOn)),
        "what rates are compared on: the last scenes of the training data, or further scenes of the test data's kind",
    )
    flags.DEFINE_enum("preset", "nano", list(PRESETS), "nano: hours on a CPU; vggt_1b: the paper's experiment")
    flags.DEFINE_list("seeds", ["0"], "of fine-tuning (what is drawn, order of the data), with commas")
    DEFINE_path_or_name(
        "weights",
        None,
        "the base model, as for experiments.extract; by default nano_2, or for vggt_1b hf:facebook/VGGT-1B",
    )
    DEFINE_path(
        "data",
        None,
        "folder of your own data sets, as TASK/SPLIT/dataset_00 (faces, humans, glass; train, test, cross_domain), by default "
        "tasks in the store; what it lacks is rendered",
    )
    DEFINE_store("folder of data sets, adapters and runs, shared by commands")
    DEFINE_path(
        "output",
        None,
        "folder of tables and records, completed if it is there; by default results/MODEL, by the base model's name",
    )
    flags.DEFINE_boolean(
        "overwrite",
        False,
        "run again what has a damaged record, or one of another base model, other settings or other data",
    )
    flags.DEFINE_boolean("dry_run", False, "print the runs and what they cost, and stop")
    flags.DEFINE_integer(
        "at_once",
        None,
        "fine-tunings at a time, 2 to 3 GB each for nano; by default one for each core of a CPU, or 1",
        lower_bound=1,
    )
    DEFINE_executor()
    flags.DEFINE_integer("workers", None, "Blender processes; by default one for each core", lower_bound=1)
    DEFINE_path_or_name(
        "blender", None, "an installed Blender 4.5 or 5.0, or a Python with bpy; by default uv makes an environment"
    )
    run(main, flag_of={"tables": "table"})
