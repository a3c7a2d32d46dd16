"""Folders that are not ours, and paths that are named twice."""

import re
from pathlib import Path

import pytest

from experiments.storage.files import (
    check_all_ours,
    check_as_written,
    check_named_once,
    check_ours,
    hashes_of,
    sha256,
    sha256_once,
)
from subspace.errors import InputError


def test_a_folder_of_other_things_is_refused(tmp_path):
    ours = ("dataset_*", "settings.json")
    check_ours(tmp_path / "absent", ours)
    check_ours(tmp_path, ours)
    for name in (".DS_Store", "Thumbs.db", ".hidden"):
        (tmp_path / name).touch()
    check_ours(tmp_path, ours)
    (tmp_path / "thesis.tex").touch()
    (tmp_path / "a note").touch()
    with pytest.raises(InputError, match="holds 'a note' and 1 more") as error:
        check_ours(tmp_path, ours)
    assert error.value.argument == "output"
    (tmp_path / "dataset_00").mkdir()
    check_ours(tmp_path, ours)  # it is ours, whatever lies beside
    with pytest.raises(InputError, match=r"thesis\.tex is a file"):
        check_ours(tmp_path / "thesis.tex", ours)


def test_paths_are_named_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_named_once([Path("a"), Path("b")], "data")
    with pytest.raises(InputError, match=r"data: a is named twice$") as error:
        check_named_once([Path("a"), Path("b"), Path("a")], "data")
    assert error.value.argument == "data"
    with pytest.raises(InputError, match=r"a is named twice, the second time as .*a$"):
        check_named_once([Path("a"), tmp_path / "a"], "data")


def test_what_is_not_ours_is_named_at_any_depth(tmp_path):
    ours = re.compile(r"a\.txt|below/\d\.png")
    check_all_ours(tmp_path / "nothing", ours)
    (tmp_path / "below" / "empty").mkdir(parents=True)
    for name in ("a.txt", "below/1.png", "below/.DS_Store"):
        (tmp_path / name).touch()
    check_all_ours(tmp_path, ours)
    (tmp_path / "below" / "loop").symlink_to(tmp_path)
    (tmp_path / "below" / "a.txt").touch()
    with pytest.raises(InputError, match=r"'below/a\.txt' and 1 more") as error:
        check_all_ours(tmp_path, ours)
    assert error.value.argument == "output"


def test_a_hash_is_made_again_only_if_the_file_has_changed(tmp_path, monkeypatch):
    path = tmp_path / "file"
    for content in (b"one", b"three"):
        path.write_bytes(content)
        assert sha256_once(path) == sha256(path)
    before = sha256_once(path)
    monkeypatch.setattr("experiments.storage.files.sha256", None)
    assert sha256_once(path) == before


def test_finished_work_is_what_was_written(tmp_path):
    (tmp_path / "model").mkdir()
    for name in ("model/config.json", "model/weights", "metrics.jsonl", "other"):
        (tmp_path / name).write_text(name)
    written = hashes_of(tmp_path, ("model", "metrics.jsonl"))
    assert sorted(written) == ["metrics.jsonl", "model/config.json", "model/weights"]
    (tmp_path / "other").unlink()
    check_as_written(tmp_path, written)
    (tmp_path / "model" / "weights").write_text("model/Weights")
    with pytest.raises(InputError, match="model/weights is not as it was written"):
        check_as_written(tmp_path, written)
    (tmp_path / "model" / "weights").unlink()
    with pytest.raises(InputError, match="model/weights is not as it was written"):
        check_as_written(tmp_path, written)
