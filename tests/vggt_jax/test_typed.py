"""JSON as a type in several threads."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EIGHT_AT_ONCE = """
import sys, threading, msgspec
from vggt_jax.reading import typed

sys.setswitchinterval(1e-6)
text = "tuple[int, ...] | None"
for number in range(40):
    fields = [(f"f{i}", text, None) for i in range(20)]
    inner = msgspec.defstruct(f"Inner{number}", fields, module=f"made{number}")
    sys.modules[f"made{number}"] = type(sys)("made")
    sys.modules[f"made{number}"].inner = inner
    kind = msgspec.defstruct(f"Kind{number}", [("all", "list[inner]"), *fields], module=f"made{number}")
    together, made = threading.Barrier(8), []

    def make():
        together.wait()
        made.append(%s)

    threads = [threading.Thread(target=make) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert [value.all[1].f3 for value in made] == [(1, 2)] * 8
"""
"""Types whose fields are texts: to find out what they mean takes Python, within which other threads go on."""


def _ended(made):
    return subprocess.run([sys.executable, "-c", EIGHT_AT_ONCE % made], cwd=ROOT, capture_output=True, text=True)


def test_threads_may_need_a_type_for_the_first_time_at_once():
    for made in (
        'typed.convert({"all": [{}, {"f3": [1, 2]}]}, kind)',
        """typed.decode('{"all": [{}, {"f3": [1, 2]}]}', kind)""",
    ):
        ended = _ended(made)
        assert ended.returncode == 0, ended.stderr


def test_nothing_else_makes_types_of_json():
    of_msgspec = re.compile(r"msgspec\.convert\(|msgspec\.json\.(decode\(.*type=|Decoder)|from msgspec import")
    made = {
        str(path.relative_to(ROOT))
        for package in ("subspace", "vggt_jax", "weights_convert", "experiments")
        for path in (ROOT / package).rglob("*.py")
        if of_msgspec.search(path.read_text())
    }
    assert made == {"vggt_jax/reading/typed.py"}
