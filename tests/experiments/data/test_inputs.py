"""Which changes of the user's files are noticed."""

import hashlib
import os
import shutil

import msgspec
import pytest

from experiments.data import inputs
from experiments.data.inputs import Assets, InputFile, Sources, are_unchanged, read_inputs, write_inputs


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").write_bytes(b"one")
    (tmp_path / "in" / "deep" / "b.txt").write_bytes(b"two")
    return tmp_path / "in"


def paths(folder):
    return [folder / "a.txt", folder / "deep" / "b.txt", folder / "missing.txt"]


def test_what_is_on_record(folder):
    def file(name, content):
        return InputFile(3, (folder / name).stat().st_mtime_ns, hashlib.sha256(content).hexdigest())

    assert read_inputs(folder, paths(folder)) == {
        "a.txt": file("a.txt", b"one"),
        "deep/b.txt": file("deep/b.txt", b"two"),
        "missing.txt": None,
    }


def write(path, content):
    path.write_bytes(content)
    os.utime(path, ns=(0, 10**9))


@pytest.mark.parametrize(
    ("change", "unchanged"),
    [
        (lambda folder: None, True),
        (lambda folder: write(folder / "a.txt", b"one"), True),  # another time, the same bytes
        (lambda folder: write(folder / "a.txt", b"six"), False),
        (lambda folder: write(folder / "a.txt", b"four"), False),
        (lambda folder: (folder / "deep" / "b.txt").unlink(), False),
        (lambda folder: write(folder / "missing.txt", b""), False),
    ],
)
def test_changes(folder, change, unchanged):
    found = read_inputs(folder, paths(folder))
    change(folder)
    assert are_unchanged(found, folder) == unchanged


def test_hashes_are_taken_only_where_the_time_differs(folder, monkeypatch):
    found = read_inputs(folder, paths(folder))
    hashed = []
    monkeypatch.setattr(inputs.files, "sha256", lambda path: hashed.append(path.name))
    assert are_unchanged(found, folder) and hashed == []
    write(folder / "deep" / "b.txt", b"two")
    are_unchanged(found, folder)
    assert hashed == ["b.txt"]


def test_a_folder_may_move(folder, tmp_path):
    found = read_inputs(folder, paths(folder))
    assert are_unchanged(found, shutil.copytree(folder, tmp_path / "elsewhere"))


def test_a_scene_is_current_until_one_of_its_files_changes_or_joins_them(folder):
    known = [folder / "a.txt"]
    sources = Sources(folder, known=lambda _: known, read=lambda _: paths(folder))
    found = sources.inputs(0)
    assert sources.is_current(0, found) and not sources.is_current(0, msgspec.UNSET)
    known.append(folder / "new.txt")
    assert not sources.is_current(0, found)


def test_assets_are_current_until_one_of_them_changes_joins_or_leaves(folder, tmp_path):
    files = paths(folder)[:2]
    assets = Assets(folder, files)
    assert not assets.are_current(tmp_path)
    write_inputs(tmp_path, assets.read())
    assert assets.are_current(tmp_path)
    for other in (files[:1], [*files, folder / "c.txt"]):
        assert not Assets(folder, other).are_current(tmp_path)
    (tmp_path / "inputs.json").write_text("{")
    assert not assets.are_current(tmp_path)
