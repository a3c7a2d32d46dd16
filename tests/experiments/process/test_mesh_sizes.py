import pytest

from experiments.process.mesh_sizes import MeshSizes
from subspace.errors import InputError


@pytest.mark.parametrize(
    ("text", "sizes"),
    [("adapter:2,data:4,model:1", (2, 4, 1)), ("model:8", (1, 1, 8)), (" data:2 , adapter:5", (5, 2, 1))],
)
def test_sizes_are_read_and_written(text, sizes):
    found = MeshSizes.of(text)
    assert (found.adapter, found.data, found.model) == sizes
    assert MeshSizes.of(str(found)) == found
    assert found.devices == sizes[0] * sizes[1] * sizes[2]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("adaptor:2", "no axis 'adaptor'"),
        ("", "no axis ''"),
        ("data:2,data:2", "data is there twice"),
        ("data", "data needs a number"),
        ("data:two", "'data:two'"),
        ("data:-2", "'data:-2'"),
        ("data:0", "data must be at least 1"),
        ("data:2,", "no axis ''"),
    ],
)
def test_what_is_no_mesh_is_named(text, named):
    with pytest.raises(InputError, match=named) as refused:
        MeshSizes.of(text)
    assert refused.value.argument == "mesh"
