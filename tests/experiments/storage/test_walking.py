"""Files below a folder: each once, whatever lies there."""

import pytest

from experiments.storage.walking import files_below


def test_hidden_files_resource_forks_and_links_in_circles(tmp_path):
    for name in ("b/a.PNG", "a.png", "._a.png", "__MACOSX/a.png", ".git/a.png", "c.txt", "b/deep/x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    (tmp_path / "a_twin").symlink_to(tmp_path / "b")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    found = [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path, {".png"})]
    assert found == ["a.png", "b/a.PNG", "b/deep/x.png", "gone.png"]


def test_linked_folders_from_elsewhere_are_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").touch()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "elsewhere")
    assert files_below(tmp_path / "here", {".png"}) == [tmp_path / "here" / "link" / "a.png"]
    with pytest.raises(FileNotFoundError):
        files_below(tmp_path / "none", {".png"})
