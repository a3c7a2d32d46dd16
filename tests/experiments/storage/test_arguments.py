"""Fields take what users have: strings for paths, one for several; what is no choice is refused in a line that names it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

import pytest

from experiments.storage.arguments import check_choice, convert_fields, path_of, paths_of
from subspace.errors import InputError

Color = Literal["red", "blue"]


@dataclass(frozen=True)
class Given:
    one: Path = Path("one")
    perhaps: Path | None = None
    several: tuple[Path, ...] = ()
    named: Mapping[str, Path] = field(default_factory=dict)
    text: str = ""
    texts: tuple[str, ...] = ()
    color: Color = "red"
    no_color: Color | None = None
    colors: tuple[Color, ...] = ()
    numbers: tuple[int, ...] = ()

    def __post_init__(self):
        convert_fields(self)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("one", "a/b", Path("a/b")),
        ("one", PurePosixPath("a/b"), Path("a/b")),
        ("perhaps", "a", Path("a")),
        ("perhaps", None, None),
        ("several", "data", (Path("data"),)),
        ("several", Path("data"), (Path("data"),)),
        ("several", ["a", Path("b")], (Path("a"), Path("b"))),
        ("several", (name for name in "ab"), (Path("a"), Path("b"))),
        ("named", {"x": "a"}, {"x": Path("a")}),
        ("text", Path("a/b"), "a/b"),
        ("texts", Path("a"), ("a",)),
        ("texts", "ab", ("ab",)),
        ("texts", ["a", Path("b")], ("a", "b")),
        ("no_color", None, None),
        ("colors", "blue", ("blue",)),
        ("colors", ["red", "blue"], ("red", "blue")),
        ("numbers", (1, 2), (1, 2)),
    ],
)
def test_fields_get_the_type_that_they_declare(name, given, expected):
    found = getattr(Given(**{name: given}), name)
    assert found == expected and type(found) is type(expected)


def test_what_has_its_type_stays():
    path, several = Path("a"), (Path("a"), Path("b"))
    given = Given(one=path, several=several)
    assert given.one is path and given.several == several


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("one", 3, ["3"]),
        ("one", None, ["None"]),
        ("one", "", ["empty"]),
        ("perhaps", "s3://bucket/runs", ["s3://bucket/runs"]),
        ("several", None, ["None"]),
        ("several", ["a", 3], ["3"]),
        ("named", {"x": 3}, ["3"]),
        ("color", "rad", ["'rad'", "red, blue", "did you mean red"]),
        ("color", None, ["None", "red, blue"]),
        ("no_color", "green", ["'green'", "red, blue"]),
        ("colors", ["red", "green"], ["'green'", "red, blue"]),
    ],
)
def test_what_is_none_is_named_in_one_line(name, given, words):
    with pytest.raises(InputError) as error:
        Given(**{name: given})
    assert error.value.argument == name and name in str(error.value) and "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words)


def test_functions_for_arguments(tmp_path):
    with os.scandir(tmp_path.parent) as entries:
        entry = next(iter(entries))
    assert path_of(entry, "data") == Path(entry.path)
    assert paths_of("ab", "data") == (Path("ab"),) and paths_of(["a", "b"], "data") == (Path("a"), Path("b"))
    check_choice("a", {"a": 1}, "name")
    with pytest.raises(InputError, match="name=") as error:
        check_choice(["a"], ["a"], "name")
    assert error.value.argument == "name"
