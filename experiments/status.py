"""What there is in a store, here or on many machines: done, running, failed and why, not finished.

``python -m experiments.status --store=s3://BUCKET/FOLDER`` says it from any machine; ``--store=runs`` of a folder. Work of
which nothing was heard for two minutes is lost: whoever asks for it next does it. What is done is counted by stage, and listed
with ``--all``. ``--unused`` counts objects of a store which no finished folder has any more, and ``--sweep`` deletes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from absl import flags

from experiments.process.command_line import InputError, run
from experiments.storage.store_flags import DEFINE_store


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS
    from experiments.data.manifest import MANIFEST, read_manifest
    from experiments.extraction.adapters import DONE as OF_ADAPTERS
    from experiments.finetuning.files import DONE as OF_FINETUNING
    from experiments.storage.overview import Entry, overview
    from experiments.storage.results import RECORD

    if not given.store.is_dir():
        raise InputError(f"there is no store {given.store}", argument="store")

    def lines(entries: Sequence[Entry]) -> Iterator[str]:
        for state in ("running", "lost", "failed", "unfinished"):
            for entry in entries:
                if entry.state == state:
                    told = [entry.by, entry.since and f"since {entry.since}", entry.reason]
                    yield f"{state:<10} {entry.name}  {'; '.join(part for part in told if part)}".rstrip()
        done = [entry for entry in entries if entry.state == "done"]
        for entry in done:
            manifest = given.store / entry.name / MANIFEST
            for failure in read_manifest(manifest.parent).failed if manifest.is_file() else ():
                yield f"failed     {entry.name}, scene {failure.scene}  {failure.errors[-1]}"
            if given.all:
                yield f"done       {entry.name}  {_size(entry.bytes)}, {entry.by and f'by {entry.by}, '}{entry.since}"
        stages = Counter(entry.name.partition("/")[0] for entry in done)
        for stage, count in sorted(stages.items()):
            size = sum(entry.bytes or 0 for entry in done if entry.name.partition("/")[0] == stage)
            yield f"{stage}: {count} done, {_size(size)}"
        if not entries:
            yield "nothing yet"

    if given.unused or given.sweep:
        from experiments.storage import shared, unused

        if not shared.is_shared(given.store):
            raise InputError(
                f"{given.store} is a folder: only a store with an address has objects",
                argument="sweep" if given.sweep else "unused",
            )
        store = shared.store_at(given.store)
        found = unused.sweep(store) if given.sweep else unused.unused(store)
        print(f"{len(found)} unused objects{' deleted' if given.sweep else ''}, {_size(sum(found.values()))}")
        return
    for line in lines(overview(given.store, {MANIFEST, OF_ADAPTERS, OF_FINETUNING, RECORD})):
        print(line)


def _size(count: int | None) -> str:
    return f"{(count or 0) / 1e6:,.1f} MB"


if __name__ == "__main__":
    DEFINE_store("the store to look into")
    flags.DEFINE_boolean("all", False, "also list what is done")
    flags.DEFINE_boolean(
        "unused", False, "of a store with an address: count objects of more than a day that nothing refers to"
    )
    flags.DEFINE_boolean("sweep", False, "delete these, while nobody works in the store")
    run(main)
