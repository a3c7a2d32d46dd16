"""Folders that are not ours, and paths that are named twice."""

from pathlib import Path

import pytest

from experiments.storage.files import check_named_once, check_ours
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
