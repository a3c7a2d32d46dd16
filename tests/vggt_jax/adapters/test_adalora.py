"""AdaLoRA against PEFT's on a small network: updates, penalty, importance, and which triplets stay."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vggt_jax.adaptable import ConvGeometry, Matrix
from vggt_jax.adapters import AdaLoRA, RankAllocation, Triplets, initialize, orthogonality

MATRICES = {"first": Matrix((), 7, 5), "second": Matrix((), 4, 7)}
RANK, TARGET, STEPS = 4, 2, 12
ALLOCATION = RankAllocation(STEPS, RANK, TARGET, warmup=2, final=3, interval=2)


@pytest.fixture
def network():
    """PEFT's AdaLoRA of two linear layers, with values in every factor."""
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    torch.manual_seed(0)
    model = torch.nn.Sequential()
    for name, matrix in MATRICES.items():
        model.add_module(name, torch.nn.Linear(matrix.m, matrix.n, dtype=torch.float64))
    config = peft.AdaLoraConfig(
        target_modules=list(MATRICES), init_r=RANK, target_r=TARGET, lora_alpha=6, total_step=STEPS, orth_reg_weight=0.5,
        tinit=ALLOCATION.warmup, tfinal=ALLOCATION.final, deltaT=ALLOCATION.interval,
    )  # fmt: skip
    found = peft.get_peft_model(model, config)
    for parameter in found.parameters():
        parameter.data = parameter.data.double()
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64))
    return found


def triplets(network, read):
    """What ``read`` finds at the factors of PEFT's layers, in our form."""
    found = {}
    for name in MATRICES:
        layer = network.base_model.model.get_submodule(name)
        A, E, B = (
            np.array(read(getattr(layer, part)["default"]).detach().numpy(), np.float32)
            for part in ("lora_A", "lora_E", "lora_B")
        )
        found[name] = Triplets(jnp.asarray(B), jnp.asarray(E[:, 0]), jnp.asarray(A.T))
    return found


def data(parameter):
    return parameter.data


def gradient(parameter):
    return parameter.grad


def close(found, expected, **tolerance):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, **tolerance)


def test_updates_are_pefts(network):
    deltas = AdaLoRA(MATRICES, RANK, alpha=6.0).deltas(triplets(network, data))
    for name, delta in deltas.items():
        expected = network.base_model.model.get_submodule(name).get_delta_weight("default").detach()
        np.testing.assert_allclose(delta.to_dense(), expected, rtol=1e-4, atol=1e-4)  # PEFT divides by rank + 1e-5


def test_the_penalty_is_pefts(network):
    import torch

    factors = dict(network.named_parameters())

    class Loss(torch.nn.Module):
        def forward(self):
            return SimpleNamespace(loss=torch.zeros(()))

        def named_parameters(self, *_, **__):
            return iter(factors.items())

    tuner = network.base_model
    model, tuner.model = tuner.model, Loss()
    found = tuner.forward().loss.item()
    tuner.model = model
    np.testing.assert_allclose(0.5 * orthogonality(triplets(network, data)), found, rtol=1e-5)


def test_the_penalty_has_no_gradient_where_it_is_zero():
    exact = {"x": Triplets(jnp.eye(5, 2), jnp.ones(2), jnp.eye(4, 2))}
    value, slope = jax.value_and_grad(orthogonality)(exact)
    assert value == 0 and all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(slope))


def test_importance_and_choice_are_pefts_at_every_step(network):
    """PEFT's own training loop, whose numbers and gradients ours is given."""
    import torch

    allocator = network.base_model.rankallocator
    optimizer = torch.optim.Adam([p for n, p in network.named_parameters() if "lora_" in n], lr=0.05)
    generator = torch.Generator().manual_seed(1)
    state = ALLOCATION.init(triplets(network, data))
    update = jax.jit(ALLOCATION.update)
    sensitivity = uncertainty = {}
    zeros = []
    for step in range(1, STEPS + 1):
        inputs = torch.randn(6, 5, generator=generator, dtype=torch.float64)
        optimizer.zero_grad()
        (network(inputs) ** 2).sum().backward()
        optimizer.step()
        after, gradients = triplets(network, data), triplets(network, gradient)
        by_name = {parameter: name for name, parameter in network.named_parameters()}
        network.base_model.update_and_allocate(step)
        if step < STEPS - ALLOCATION.final:
            sensitivity, uncertainty = (
                triplets(network, lambda p, own=smooth, names=by_name: own[names[p].removeprefix("base_model.model.")])
                for smooth in (allocator.exp_avg_ipt, allocator.exp_avg_unc)
            )
        pruned, state = update(after, gradients, state)
        close(state.sensitivity, sensitivity, rtol=1e-4, atol=1e-5)
        close(state.uncertainty, uncertainty, rtol=1e-4, atol=1e-5)
        close(pruned, triplets(network, data), rtol=1e-6)
        zeros.append(sum(int((own.Lambda == 0).sum()) for own in pruned.values()))
    assert zeros[:2] == [0, 0] and zeros[-4:] == [len(MATRICES) * (RANK - TARGET)] * 4
    assert 0 < zeros[3] < zeros[7] and zeros[4] == 0  # between allocations all triplets are trained


def test_budget_is_pefts(network):
    allocator = network.base_model.rankallocator
    budgets, allocates = ALLOCATION.budgets(len(MATRICES)), ALLOCATION.allocates()
    for step in range(1, STEPS + 1):
        budget, masks = allocator.budget_schedule(step)
        assert budgets[step - 1] == budget
        if step < STEPS - ALLOCATION.final:
            assert allocates[step - 1] == masks
    assert allocates[STEPS - ALLOCATION.final - 1] and not allocates[STEPS - ALLOCATION.final :].any()


def test_a_stack_of_layers_is_ranked_with_all_other_matrices():
    """Three of six triplets may stay: those of the second layer, and the better one of the lone matrix."""
    params = {
        "stack": Triplets(jnp.ones((2, 3, 2)), jnp.array([[0.1, 0.2], [3.0, 4.0]]), jnp.ones((2, 5, 2))),
        "lone": Triplets(jnp.ones((4, 2)), jnp.array([0.3, 2.0]), jnp.ones((3, 2))),
    }
    zeros = jax.tree.map(jnp.zeros_like, params)
    gradients = {path: Triplets(own.P, jnp.ones_like(own.Lambda), own.Q) for path, own in zeros.items()}
    allocation = RankAllocation(12, 2, 1, warmup=0, final=10)
    pruned, state = params, allocation.init(params)
    for _ in range(2):
        pruned, state = allocation.update(params, gradients, state)
    np.testing.assert_array_equal(state.kept["stack"], [[False, False], [True, True]])
    np.testing.assert_array_equal(pruned["lone"].Lambda, [0.0, 2.0])


def test_equal_budgets_take_nothing_away():
    allocation = RankAllocation(4, 2, 2, warmup=0, final=1)
    params = {"x": Triplets(jnp.ones((3, 2)), jnp.ones(2), jnp.ones((3, 2)))}
    pruned, _ = allocation.update(params, params, allocation.init(params))
    np.testing.assert_array_equal(pruned["x"].Lambda, [1, 1])


def test_starts_with_no_effect_on_linear_layers_only():
    conv = Matrix((), 8, 36, ConvGeometry(3, 1, 1))
    maker = AdaLoRA({**MATRICES, "stack": Matrix((50,), 30, 20), "conv": conv}, 8, 8.0)
    params = initialize(maker, jax.random.key(0), 2, "independent")
    assert set(params) == {*MATRICES, "stack"} and params["stack"].Q.shape == (2, 50, 20, 8)
    np.testing.assert_allclose(np.std(params["stack"].P), 0.02, rtol=0.05)
    assert np.abs(np.corrcoef(np.asarray(params["stack"].P).reshape(2, -1))[0, 1]) < 0.1
    for delta in jax.vmap(maker.deltas)(params).values():
        np.testing.assert_array_equal(delta.to_dense(), 0)
    with pytest.raises(ValueError, match="needs a linear layer"):
        AdaLoRA({"conv": conv}, 8, 8.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((10, 4, 5, 1, 1), "target rank 5 must lie between 1 and the rank 4"),
        ((10, 4, 2, 6, 4), "10 steps leave none to allocate ranks in between 6 of warm-up and 4 final ones"),
        ((10, 4, 2, 1, 1, 0), "interval must be at least 1"),
    ],
)
def test_contradictions_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        RankAllocation(*settings)
