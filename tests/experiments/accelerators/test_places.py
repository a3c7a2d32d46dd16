import pytest

from experiments.accelerators.places import Place, place_of


@pytest.mark.parametrize(
    ("scope", "place"),
    [
        ("jit(step)/vmap(jvp(aggregator))/while/body/closed_call/attn/dot_general", Place("attn", "forward")),
        ("jit(step)/vmap(transpose(jvp(aggregator)))/while/body/checkpoint/mlp/mul", Place("mlp", "backward")),
        ("jit(step)/transpose(jvp(aggregator))/checkpoint/rematted_computation/mlp/mul", Place("mlp", "again")),
        ("jit(step)/vmap(jvp(camera_head))/while/body/attn/exp", Place("camera_head", "forward")),
        ("jit(step)/vmap(optimizer)/mul", Place("optimizer", "forward")),
        ("jit(step)/vmap(jvp(aggregator))/broadcast_in_dim", Place("other", "forward")),
        ("", Place("other", "forward")),
    ],
)
def test_place_of_a_scope(scope, place):
    assert place_of(scope) == place
