"""What is no adapter is named by what it is, with what to name in its place."""

import pytest

from experiments.evaluation.adapter_path import check_adapter
from subspace.errors import InputError


def test_adapters_pass(tmp_path):
    (tmp_path / "adapter_config.json").touch()
    (tmp_path / "a.safetensors").touch()
    check_adapter(tmp_path)
    check_adapter(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("files", "name", "message"),
    [
        ([], "absent", r"there is no .*absent"),
        (
            ["subspace.safetensors", "adapters/b.safetensors", "adapters/a.safetensors"],
            "",
            r"such as .*adapters/a\.safe",
        ),
        (["subspace.safetensors"], "", "it has no adapters"),
        (["subspace.safetensors"], "subspace.safetensors", "what several adapters share"),
        (["model/config.json"], "", r"weights=.*model without an adapter"),
        (["adapter.safetensors"], "", r"name the adapter in it, .*adapter\.safetensors"),
        (["notes.txt"], "", r"it has no adapter_config\.json$"),
    ],
)
def test_what_is_none_is_named(files, name, message, tmp_path):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    with pytest.raises(InputError, match=message) as error:
        check_adapter(tmp_path / name)
    assert error.value.argument == "adapter"
