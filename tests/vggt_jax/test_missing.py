"""What is near to a name that is not there."""

import pytest

from vggt_jax.missing import nearest, nearest_path, no_folder


def test_the_nearest_name_is_said():
    assert nearest("sharde", ["shared", "shuffled"]) == "; did you mean shared?" and nearest("x", ["shared"]) == ""
    assert nearest("sharde", ["shared"], "--") == "; did you mean --shared?"
    assert nearest("LoRA", ["subspace", "lora", "lora_xs"]) == "; did you mean lora?"
    assert nearest("cross", ["train", "cross_domain"]) == "; did you mean cross_domain?"
    assert nearest("sh", ["shared"]) == ""


@pytest.mark.parametrize("make", [str, lambda path: path])
def test_why_there_is_no_folder(tmp_path, monkeypatch, make):
    (tmp_path / "photos").mkdir()
    (tmp_path / "file").touch()
    assert no_folder(make(tmp_path / "photo")) == f"there is no folder {tmp_path / 'photo'}; did you mean photos?"
    assert no_folder(make(tmp_path / "file")) == f"{tmp_path / 'file'} is a file, not a folder"
    assert nearest_path(make(tmp_path / "nowhere" / "photo")) == ""
    (tmp_path / ".file_2.lock").touch()
    assert nearest_path(make(tmp_path / "file_2_lock")) == ""
    assert nearest_path(make(tmp_path / ".file_2_lock")) == "; did you mean .file_2.lock?"
    monkeypatch.chdir(tmp_path)
    assert nearest_path("photo") == nearest_path("photo/") == "; did you mean photos?"
