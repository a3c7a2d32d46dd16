"""The plan of the house, held against the code: which room may import which, how large a room may be, no line twice."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("subspace", "vggt_jax", "weights_convert")
ROOMS = (
    *PACKAGES,
    "process",
    "storage",
    "cluster",
    "scenes",
    "reports",
    "data",
    "presets",
    "models",
    "synthetic",
    "rendering",
    "tasks",
    "training",
    "accelerators",
    "mining",
    "loras",
    "extraction",
    "analysis",
    "finetuning",
    "evaluation",
    "reconstruction",
    "pretraining",
    "reproduction",
    "benchmarks",
)
"""From the ground up; everything else in ``experiments`` is a command."""
LARGEST_SHARE = 0.11
LONGEST_MODULE = 400
EQUAL_LINES = 6

FILES = sorted(path.relative_to(ROOT) for name in (*PACKAGES, "experiments") for path in (ROOT / name).rglob("*.py"))
TREES = {path: ast.parse((ROOT / path).read_text(encoding="utf-8")) for path in FILES}


def room_of(module: str) -> str:
    """The room of ``experiments.data.dataset`` is ``data``; of ``experiments`` itself the empty one."""
    first, *rest = module.split(".")
    if first != "experiments":
        return first
    return rest[0] if rest else ""


def module_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path):
    """(module, line) of every import of the four packages, those within functions and for type checkers too."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] in (*PACKAGES, "experiments"):
                yield name, node.lineno


def test_imports_only_go_up():
    wrong = []
    for path in FILES:
        room = room_of(module_of(path))
        if room not in ROOMS:  # a command, which may import every room
            continue
        for name, line in imports_of(path):
            other = room_of(name)
            if other in ROOMS and ROOMS.index(other) > ROOMS.index(room):
                wrong.append(f"{path}:{line}: {room} imports {other}, which stands above it")
    assert not wrong, "\n".join(wrong)


def test_nothing_imports_a_command():
    wrong = [
        f"{path}:{line}: {name}"
        for path in FILES
        for name, line in imports_of(path)
        if name.startswith("experiments.") and room_of(name) not in ROOMS
    ]
    assert not wrong, "\n".join(wrong)


def test_every_folder_has_its_floor():
    folders = {path.parts[1] for path in FILES if path.parts[0] == "experiments" and len(path.parts) > 2}
    assert folders <= set(ROOMS)


def lines_of(path: Path) -> int:
    return len((ROOT / path).read_text(encoding="utf-8").splitlines())


def test_no_room_is_too_large():
    sizes = defaultdict(int)
    for path in FILES:
        room = "vggt_jax.adapters" if path.parts[:2] == ("vggt_jax", "adapters") else room_of(module_of(path))
        sizes[room] += lines_of(path)
    total = sum(sizes.values())
    large = {room: f"{size / total:.1%}" for room, size in sizes.items() if size > LARGEST_SHARE * total}
    assert not large


@pytest.mark.parametrize("path", [path for path in FILES if lines_of(path) > LONGEST_MODULE * 3 // 4], ids=str)
def test_no_module_is_too_long(path):
    assert lines_of(path) <= LONGEST_MODULE


def declared_lines(tree: ast.AST) -> set[int]:
    """Lines that only declare: imports, signatures, fields with their docs. Parallel functions and records share them."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        if isinstance(node, ast.FunctionDef):
            found.update(range(node.lineno, node.body[0].lineno))
        if isinstance(node, ast.ClassDef):
            for member, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(member, ast.AnnAssign):
                    last = after if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else member
                    found.update(range(member.lineno, (last.end_lineno or last.lineno) + 1))
    return found


def test_no_six_lines_stand_in_two_places():
    places = defaultdict(list)
    for path in FILES:
        declared = declared_lines(TREES[path])
        text = (ROOT / path).read_text(encoding="utf-8").splitlines()
        kept = [(number, line.strip()) for number, line in enumerate(text, start=1) if line.strip()]
        kept = [(number, line) for number, line in kept if number not in declared]
        for i in range(len(kept) - EQUAL_LINES + 1):
            window = kept[i : i + EQUAL_LINES]
            places[tuple(line for _, line in window)].append(f"{path}:{window[0][0]}")
    twice = [" and ".join(where) for where in places.values() if len(where) > 1]
    assert not twice, "\n".join(twice)
