"""Makers of adapters: what they start from, what they train, and several at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from subspace import LowRank, merge_subspaces
from vggt_jax import VGGTConfig, merge
from vggt_jax.adaptable import adaptable
from vggt_jax.adapters import (
    AdaLoRA,
    Combined,
    Decomposed,
    Dense,
    LoRA,
    PiSSA,
    SubspaceForm,
    abstract_bases,
    initialize,
    principal_bases,
    principal_part,
    select,
    trained_numbers,
)
from vggt_jax.parameters import adaptable_matrices
from weights_convert.names import to_official

KINDS = ("lora", "pissa", "subspace", "psv", "combined")


@pytest.fixture(scope="module")
def base(tiny, random_model_of):
    return nnx.split(random_model_of(tiny, 0))


@pytest.fixture(scope="module")
def matrices(base):
    """One of each kind: a stack of linears, a lone linear, convolutions with stride and with a 1×1 window."""
    chosen = [
        "aggregator.frame_blocks.attn.qkv",
        "camera_head.pose_branch.fc2",
        "depth_head.resize_layers.3",
        "depth_head.projects.?",
    ]
    return select(adaptable(nnx.merge(*base)), chosen)


def random_subspace(matrix, rank, seed):
    rng = np.random.default_rng(seed)
    return LowRank(*(jnp.asarray(rng.normal(size=(*matrix.stack, s, rank)), jnp.float32) for s in (matrix.n, matrix.m)))


@pytest.fixture(scope="module")
def makers(base, matrices):
    bases = {
        path: merge_subspaces({str(i): random_subspace(matrix, 2, i) for i in range(2)})
        for path, matrix in matrices.items()
    }
    lora = LoRA(matrices, rank=3, alpha=6.0)
    heads = LoRA(select(matrices, ["*_head.*"]), rank=2, alpha=1.0)
    return {
        "lora": lora,
        "pissa": PiSSA.of(base[1], matrices, rank=3),
        "subspace": SubspaceForm(bases),
        "psv": SubspaceForm(principal_bases(base[1], matrices, 12)),
        "combined": Combined((SubspaceForm(bases), heads)),
    }


def perturbed(params, seed):
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    return tree.unflatten([leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves])


def equal(one, other, **tolerance):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_starts_with_no_effect_and_learns(kind, makers, matrices):
    maker = makers[kind]
    params = maker.init(jax.random.key(0))
    deltas = maker.deltas(params)
    assert deltas.keys() == matrices.keys()
    for path, matrix in matrices.items():
        assert deltas[path].shape == (*matrix.stack, matrix.n, matrix.m)
        np.testing.assert_allclose(deltas[path].to_dense(), 0, atol=1e-6)

    targets = {path: random_subspace(matrix, 2, 9).to_dense() for path, matrix in matrices.items()}

    def loss(params, maker):
        return sum(jnp.mean((delta.to_dense() - targets[path]) ** 2) for path, delta in maker.deltas(params).items())

    value, gradients = jax.jit(jax.value_and_grad(loss))(params, maker)
    assert jax.tree.structure(gradients) == jax.tree.structure(params)
    stepped = jax.tree.map(lambda p, g: p - 0.01 * g, params, gradients)
    assert loss(stepped, maker) < value
    assert all(np.abs(delta.to_dense()).max() > 0 for delta in maker.deltas(stepped).values())


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow if kind in ("pissa", "psv") else ()) for kind in KINDS]
)
def test_k_adapters_are_one_pytree(kind, makers):
    """Under vmap every adapter gets the deltas and gradients that it gets alone; the constants are shared."""
    maker = makers[kind]
    params = perturbed(initialize(maker, jax.random.key(1), 3, "independent"), 2)

    def energy(params, maker):
        return sum(jnp.sum(jnp.sin(delta.to_dense())) for delta in maker.deltas(params).values())

    deltas = jax.vmap(maker.deltas)(params)
    gradients = jax.jit(jax.vmap(jax.grad(energy), in_axes=(0, None)))(params, maker)
    for i in range(3):
        alone = jax.tree.map(lambda leaf, i=i: leaf[i], params)
        equal(jax.tree.map(lambda leaf, i=i: leaf[i], deltas), maker.deltas(alone), rtol=1e-6, atol=1e-6)
        ours = jax.tree.map(lambda leaf, i=i: leaf[i], gradients)
        equal(ours, jax.grad(energy)(alone, maker), rtol=1e-4, atol=1e-4)


@pytest.mark.wrong_types
def test_draws_are_independent_or_shared(makers):
    lora = makers["lora"]
    independent = initialize(lora, jax.random.key(3), 3, "independent")
    shared = initialize(lora, jax.random.key(3), 3, "shared")
    for path, factors in shared.items():
        assert factors.A.shape[0] == 3
        np.testing.assert_array_equal(factors.B[1:], factors.B[:1].repeat(2, 0))
        np.testing.assert_allclose(factors.B[0], lora.init(jax.random.key(3))[path].B, rtol=1e-6)
        drawn = np.asarray(independent[path].B).reshape(3, -1)
        assert np.abs(np.corrcoef(drawn) - np.eye(3)).max() < 0.5
        assert not np.any(independent[path].A) and not np.any(shared[path].A)
    with pytest.raises(ValueError, match="init 'same' is not one of independent, shared"):
        initialize(lora, jax.random.key(3), 3, "same")
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        initialize(lora, jax.random.key(3), 0, "shared")
    some = initialize(lora, jax.random.key(3), 3, "independent", places=(2, 0))
    equal(some, jax.tree.map(lambda leaf: leaf[jnp.array([2, 0])], independent), rtol=1e-6)
    for places in ((2, 7), (-1,), ()):
        with pytest.raises(ValueError, match=r"places must lie between 0 and 2, at least one, got \("):
            initialize(lora, jax.random.key(3), 3, "independent", places=places)


def test_matrices_have_draws_of_their_own(makers):
    params = makers["lora"].init(jax.random.key(0))
    first, second = (np.asarray(params[f"depth_head.projects.{i}"].B).ravel() for i in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.5


def test_lora_has_the_scale_and_bounds_of_pefts(makers, matrices):
    lora = makers["lora"]
    params = perturbed(lora.init(jax.random.key(0)), 0)
    for path, delta in lora.deltas(params).items():
        expected = 6 / 3 * params[path].A @ params[path].B.mT
        np.testing.assert_allclose(delta.to_dense(), expected, rtol=1e-5, atol=1e-6)
    big = LoRA(matrices, rank=200, alpha=1.0).init(jax.random.key(4))
    for path, matrix in matrices.items():  # uniform in ±1/√fan_in
        limit = matrix.m**-0.5
        assert 0.98 * limit < np.abs(big[path].B).max() <= limit
        np.testing.assert_allclose(np.std(big[path].B), limit / 3**0.5, rtol=0.05)


@pytest.mark.parametrize(
    ("settings", "message"), [((0, 1.0), "rank must be at least 1"), ((4, 0.0), "alpha must be positive")]
)
def test_lora_refuses_impossible_settings(settings, message, matrices):
    with pytest.raises(ValueError, match=message):
        LoRA(matrices, *settings)


def test_the_subspace_form_stays_in_its_basis(makers):
    maker = makers["subspace"]
    params = perturbed(maker.init(jax.random.key(0)), 5)
    for path, delta in maker.deltas(params).items():
        basis = maker.bases[path]
        inside = basis.A @ (basis.A.mT @ delta.to_dense() @ basis.B) @ basis.B.mT
        np.testing.assert_allclose(delta.to_dense(), inside, atol=1e-5)
        np.testing.assert_allclose(delta.to_dense(), basis.A @ params[path] @ basis.B.mT, atol=1e-5)


def test_combined_updates_of_one_matrix_add_up(makers):
    combined = makers["combined"]
    params = perturbed(combined.init(jax.random.key(0)), 6)
    found = combined.deltas(params)
    parts = [maker.deltas(own) for maker, own in zip(combined.makers, params, strict=True)]
    assert set(found) == set(parts[0]) > set(parts[1])
    for path, delta in found.items():
        expected = sum(part[path].to_dense() for part in parts if path in part)
        np.testing.assert_allclose(delta.to_dense(), expected, atol=1e-5)


def test_pissa_starts_from_the_principal_part_of_the_weights(base, makers, matrices):
    official = to_official(base[1])
    pissa = makers["pissa"]
    trained = perturbed(pissa.init(jax.random.key(0)), 7)
    merged = to_official(merge(base[1], pissa.deltas(trained)))
    for path in matrices:
        name = path.replace("frame_blocks", "frame_blocks.2") + ".weight"
        start, end = (x[path][2] if matrices[path].stack else x[path] for x in (pissa.initial, trained))
        W = official[name].reshape(len(official[name]), -1)
        u, s, vt = np.linalg.svd(W, full_matrices=False)
        residual = W - (u[:, :3] * s[:3]) @ vt[:3]
        np.testing.assert_allclose(W - start.to_dense(), residual, atol=2e-4)
        np.testing.assert_allclose(start.A.T @ start.A, np.diag(s[:3]), atol=2e-4)  # balanced: A = U √Σ
        np.testing.assert_allclose(start.B.T @ start.B, np.diag(s[:3]), atol=2e-4)
        expected = (residual + end.to_dense()).reshape(official[name].shape)
        np.testing.assert_allclose(merged[name], expected, atol=5e-4)


@pytest.mark.parametrize("shape", [(3, 6, 4), (4, 6)])
def test_the_principal_part_of_a_matrix_of_lower_rank_is_the_matrix(shape):
    rng = np.random.default_rng(0)
    W = jnp.asarray(rng.normal(size=(*shape[:-1], 2)) @ rng.normal(size=(2, shape[-1])), jnp.float32)
    part = principal_part(W, 3)
    assert part.shape == shape and part.rank == 3
    np.testing.assert_allclose(part.to_dense(), W, atol=1e-5)
    np.testing.assert_array_equal(principal_part(0 * W, 2).to_dense(), 0 * W)


def test_pissa_of_a_rank_above_a_matrix_begins_with_all_of_it_and_trains_as_many_numbers_as_lora(base, matrices):
    path = min(matrices, key=lambda path: min(matrices[path].n, matrices[path].m))
    matrix = matrices[path]
    smaller = min(matrix.n, matrix.m)
    pissa = PiSSA.of(base[1], {path: matrix}, rank=smaller + 3)
    params = pissa.init(jax.random.key(0))
    np.testing.assert_allclose(pissa.deltas(params)[path].to_dense(), np.zeros(params[path].shape), atol=1e-5)
    weights = np.asarray(to_official(base[1])[f"{path}.weight"]).reshape(matrix.n, matrix.m)
    np.testing.assert_allclose(params[path].to_dense(), weights, atol=1e-5)
    assert params[path].rank == smaller + 3 and trained_numbers(pissa) == {path: (smaller + 3) * (matrix.n + matrix.m)}
    A, B = params[path].A[:, smaller:], params[path].B[:, smaller:]
    assert not A.any() and (abs(B) <= matrix.m**-0.5).all() and B.std() > 0.4 * matrix.m**-0.5
    with pytest.raises(ValueError, match="rank 0 must be at least 1"):
        PiSSA.of(base[1], matrices, rank=0)


def test_principal_bases_are_the_leading_singular_vectors_of_the_weights(base, makers, matrices):
    """Also where a matrix has fewer than D = 12 rows or columns: then D is what it has."""
    official = to_official(base[1])
    for path, basis in makers["psv"].bases.items():
        layer = (2,) if matrices[path].stack else ()
        name = path.replace("frame_blocks", "frame_blocks.2") + ".weight"
        W = official[name].reshape(len(official[name]), -1)
        side = min(12, *W.shape)
        assert basis.A.shape[-1] == basis.B.shape[-1] == side
        assert (np.asarray(basis.output_rank) == side).all() and basis.input_rank.shape == matrices[path].stack
        u, _, vt = np.linalg.svd(W)
        for found, expected in ((basis.A[layer], u[:, :side]), (basis.B[layer], vt[:side].T)):
            np.testing.assert_allclose(np.asarray(found).T @ found, np.eye(side), atol=1e-5)
            np.testing.assert_allclose(np.abs(np.asarray(found).T @ expected), np.eye(side), atol=5e-3)


def test_principal_bases_stay_orthonormal_where_the_weights_have_lower_rank(base, matrices):
    zero = jax.tree.map(jnp.zeros_like, base[1])
    for basis in principal_bases(zero, matrices, 3).values():
        for side in (basis.A, basis.B):
            np.testing.assert_allclose(side.mT @ side, np.broadcast_to(np.eye(3), (*side.shape[:-2], 3, 3)), atol=1e-6)
    with pytest.raises(ValueError, match="dim must be at least 1, got 0"):
        principal_bases(zero, matrices, 0)


def test_patterns_choose_matrices():
    found = adaptable_matrices(VGGTConfig.nano())
    assert set(select(found, ["aggregator.*"])) == {path for path in found if path.startswith("aggregator.")}
    assert set(select(found, ["*.mlp.fc?", "camera_head.embed_pose"])) == {
        path for path in found if ".mlp." in path or path == "camera_head.embed_pose"
    }
    with pytest.raises(ValueError, match=r"no adaptable matrix matches point_head\.\*; names are like aggregator\."):
        select(found, ["aggregator.*", "point_head.*"])


@pytest.mark.parametrize("rank", [16, 32, 64, 128, 256])
def test_counts_of_the_papers_tables(rank):
    """Trained numbers at VGGT-1B's size, as REFERENCE and the paper's Tables 1 to 3 have them."""
    config = VGGTConfig.vggt_1b()
    matrices = adaptable_matrices(config)
    lora = LoRA(matrices, rank, float(rank))
    assert sum(trained_numbers(lora).values()) == 16_336_192 * rank // 16
    adalora = AdaLoRA(matrices, rank, float(rank))
    assert sum(trained_numbers(adalora).values()) == 932_070 * rank

    heads = LoRA(select(matrices, ["camera_head.*", "depth_head.*"]), 16, 16.0)
    assert sum(trained_numbers(heads).values()) == 3_753_280
    ours = Combined((SubspaceForm(abstract_bases(matrices, rank)), heads))
    expected = {16: 3_814_630, 32: 3_998_182, 64: 4_729_318, 128: 7_653_862, 256: 19_302_886}
    assert sum(trained_numbers(ours).values()) == expected[rank]
    if rank == 256:
        blocks = abstract_bases(select(matrices, ["aggregator.*"]), rank)
        assert sum(trained_numbers(Combined((SubspaceForm(blocks), heads))).values()) == 16_336_192


def test_layers_of_a_smaller_basis_train_fewer_numbers(matrices):
    path = "aggregator.frame_blocks.attn.qkv"
    part = LowRank(*(jnp.ones((4, s, 3)) * jnp.eye(s, 3) for s in (matrices[path].n, matrices[path].m)))
    basis = merge_subspaces({"texture": part}, {"texture": jnp.array([0, 1, 2, 3])})
    assert trained_numbers(SubspaceForm({path: basis})) == {path: 0 + 1 + 4 + 9}
    maker = Decomposed(SubspaceForm({path: basis}), {path: jnp.ones((4, matrices[path].n))})

    def total(params):
        delta = maker.deltas(params)[path]
        return jnp.sum(jnp.sin(delta.direction.to_dense() + 1)) + jnp.sum(delta.magnitude)

    moved = sum(np.count_nonzero(leaf) for leaf in jax.tree.leaves(jax.grad(total)(maker.init(jax.random.key(0)))))
    assert trained_numbers(maker) == {path: moved} == {path: 14 + 4 * matrices[path].n}


def test_counts_need_no_numbers(base, matrices):
    """Of constants of which only the shapes are known, as of those that are there."""
    real = PiSSA.of(base[1], matrices, rank=3)
    abstract = jax.eval_shape(lambda params: PiSSA.of(params, matrices, rank=3), base[1])
    assert trained_numbers(abstract) == trained_numbers(real)
    basis = abstract_bases(matrices, 12)
    real = principal_bases(base[1], matrices, 12)
    assert trained_numbers(SubspaceForm(basis)) == trained_numbers(SubspaceForm(real))
    assert [leaf.shape for leaf in jax.tree.leaves(basis)] == [leaf.shape for leaf in jax.tree.leaves(real)]


def test_dense_updates_are_the_matrices_themselves(matrices):
    maker = Dense(matrices)
    params = perturbed(maker.init(jax.random.key(0)), 0)
    assert trained_numbers(maker) == {path: np.prod((*each.stack, each.n, each.m)) for path, each in matrices.items()}
    assert not any(leaf.any() for leaf in jax.tree.leaves(maker.init(jax.random.key(0))))
    for path, delta in maker.deltas(params).items():
        np.testing.assert_array_equal(delta.to_dense(), params[path])
        assert delta.rank == min(matrices[path].n, matrices[path].m)
