"""Operations and bytes of programs that this CPU compiles, counted by hand, and of lines that only GPUs and TPUs have."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.accelerators.hlo import Hlo
from experiments.accelerators.kernels import kernels, scatters
from experiments.benchmarks import flops


def compiled(function, *arguments):
    return Hlo.parse(jax.jit(function).lower(*arguments).compile().as_text())


def operations(program, **options):
    return sum(each.times * each.operations for each in kernels(program, **options))


def entry(*lines):
    return Hlo.parse(
        "HloModule test\n\nENTRY %main (p: f32[]) -> f32[] {\n" + "".join(f"  {x}\n" for x in lines) + "}\n"
    )


def test_loops_count_every_pass():
    square = jnp.ones((7, 7))

    def looped(z):
        return jax.lax.scan(lambda carry, _: (jnp.sin(carry @ z), None), z, None, length=5)[0]

    program = compiled(looped, square)
    assert operations(program) == flops.count(looped, square) == 5 * 2 * 7**3
    assert {each.kind for each in kernels(program) if each.operations} == {"products"}


def test_a_slice_of_a_loop_moves_only_what_it_is():
    def looped(rows):
        return jax.lax.scan(lambda carry, row: (carry + jnp.sin(row), None), jnp.zeros(1000), rows)[0]

    program = compiled(looped, jnp.ones((50, 1000)))
    moved = sum(each.times * each.bytes for each in kernels(program))
    assert 50 * 3 * 4000 <= moved < 50 * 8 * 4000  # not 50 times the 50 rows


def test_a_fusion_reads_what_it_slices_of_an_array_also_behind_a_transpose():
    program = Hlo.parse("""HloModule test

%sliced (p: bf16[10,96]) -> bf16[2,10,32] {
  %p = bf16[10,96]{1,0} parameter(0)
  %view = bf16[5,2,96]{2,1,0} bitcast(%p)
  %turned = bf16[2,5,96]{2,1,0} transpose(%view), dimensions={1,0,2}
  ROOT %part = bf16[2,5,32]{2,1,0} slice(%turned), slice={[0:2], [0:5], [32:64]}
}

ENTRY %main (x: bf16[10,96]) -> bf16[2,5,32] {
  %x = bf16[10,96]{1,0} parameter(0)
  ROOT %f = bf16[2,5,32]{2,1,0} fusion(%x), kind=kLoop, calls=%sliced
}
""")
    (found,) = kernels(program)
    assert found.bytes == 2 * (10 * 32) + 2 * (2 * 5 * 32)  # not all of x: a third of it is looked at


@pytest.mark.parametrize("target", ["__cublas$lt$matmul", "__cudnn$convForward"])
def test_scratch_memory_of_a_library_is_no_traffic(target):
    program = entry(
        "%p.0 = bf16[64,16]{1,0} parameter(0)",
        "%p.1 = bf16[16,32]{1,0} parameter(1)",
        f'%c = (bf16[64,32]{{1,0}}, s8[33554432]{{0}}) custom-call(%p.0, %p.1), custom_call_target="{target}", '
        'dim_labels=bf_io->bf, backend_config={"lhs_contracting_dimensions":["1"]}',
    )
    (found,) = kernels(program)
    assert found.bytes == 2 * (64 * 16 + 16 * 32 + 64 * 32)


@pytest.mark.parametrize(
    ("target", "operands", "result", "arithmetic"),
    [
        ("convForward", ["f32[2,10,8,3]", "f32[16,3,3,3]"], "f32[2,10,8,16]", "tensor_float32"),
        ("convBackwardInput", ["f32[2,10,8,16]", "f32[16,3,3,3]"], "f32[2,10,8,3]", "tensor_float32"),
        ("convBackwardFilter", ["bf16[2,10,8,3]", "bf16[2,10,8,16]"], "bf16[16,3,3,3]", "bfloat16"),
    ],
)
def test_convolutions_of_cudnn(target, operands, result, arithmetic):
    program = entry(
        *(f"%p.{i} = {shape}{{3,2,1,0}} parameter({i})" for i, shape in enumerate(operands)),
        f"%c = ({result}{{3,2,1,0}}, u8[0]{{0}}) custom-call(%p.0, %p.1), window={{size=3x3 pad=1_1x1_1}}, "
        f'dim_labels=b01f_o01i->b01f, operand_precision={{high,high}}, custom_call_target="__cudnn${target}", '
        'metadata={op_name="jit(step)/transpose(jvp(depth_head))/conv"}',
    )
    (found,) = kernels(program)
    assert (found.kind, found.arithmetic, found.operations) == ("convolutions", arithmetic, 2 * 2 * 10 * 8 * 16 * 27)
    assert found.place.part == "depth_head" and found.place.direction == "backward"


@pytest.mark.parametrize(("target", "factor", "kind"), [("", 4, "attention"), ("Backward", 10, "attention's gradient")])
def test_attention_of_cudnn(target, factor, kind):
    program = entry(
        *(f"%p.{i} = bf16[2,300,4,64]{{3,2,1,0}} parameter({i})" for i in range(3)),
        "%a = (bf16[2,4,300,64]{3,1,2,0}, u8[0]{0}) custom-call(%p.0, %p.1, %p.2), "
        f'custom_call_target="__cudnn$fmhaSoftmax{target}", metadata={{op_name="jit(step)/rematted_computation/attn"}}, '
        'backend_config={"intermediate_tensor_shape": {"element_type": "BF16", "dimensions": ["2", "4", "300", "300"]}}',
    )
    (found,) = kernels(program)
    assert (found.kind, found.keys, found.operations) == (kind, 300, factor * 2 * 4 * 300 * 300 * 64)
    assert found.place == ("attn", "again") and found.bytes == 4 * 2 * 300 * 4 * 64 * 2


@pytest.mark.parametrize("window", ["", "window={size=1}, "])
def test_a_product_of_a_tpu_is_a_convolution_whose_window_does_not_slide(window):
    product = f"%c = f32[64,32]{{1,0:T(8,128)}} convolution(%p.0, %p.1), {window}dim_labels=bf_io->bf"
    operands = ("%p.0 = f32[64,16]{1,0} parameter(0)", "%p.1 = f32[16,32]{1,0:T(8,128)S(1)} parameter(1)")
    for precision, arithmetic in {"highest": "float32", "high": "tensor_float32", "default": "bfloat16"}.items():
        program = entry(*operands, f"{product}, operand_precision={{{precision},{precision}}}")
        (found,) = kernels(program, tpu=True)
        assert (found.kind, found.arithmetic, found.operations) == ("products", arithmetic, 2 * 64 * 16 * 32)
        assert found.bytes == 4 * (64 * 32 + 64 * 16)  # what is on the chip already costs nothing


@pytest.mark.parametrize(
    ("image", "kernel", "window", "kind"),
    [
        ((2, 9, 8, 6), (3, 3, 6, 5), {"padding": [(1, 1), (1, 1)]}, "convolutions"),
        ((2, 9, 8, 6), (3, 2, 6, 5), {"padding": [(0, 2), (-1, 1)], "window_strides": (2, 1)}, "convolutions"),
        ((2, 9, 8, 6), (3, 3, 6, 5), {"padding": "SAME", "rhs_dilation": (2, 1)}, "convolutions"),
        ((2, 9, 8, 6), (3, 3, 6, 5), {"padding": [(2, 2), (2, 2)], "lhs_dilation": (2, 2)}, "convolutions"),
        ((2, 9, 8, 6), (3, 3, 2, 9), {"padding": "SAME", "feature_group_count": 3}, "convolutions"),
        ((6, 9, 8, 6), (3, 3, 6, 9), {"padding": "SAME", "batch_group_count": 3}, "convolutions"),
        ((2, 9, 8, 6), (3, 4, 6, 5), {"padding": "VALID", "window_strides": (3, 4)}, "products"),  # patches
        ((2, 9, 8, 6), (9, 8, 6, 5), {"padding": "VALID"}, "products"),  # sums over axes of the image
        ((20, 1, 1, 6), (3, 16, 6, 5), {"padding": [(2, 2), (15, 15)]}, "products"),  # an output of several axes
        ((2, 9, 8, 6), (2, 2, 6, 5), {"padding": [(1, 1), (1, 1)], "lhs_dilation": (2, 2)}, "products"),
    ],
)
def test_convolutions_of_a_tpu_are_counted_as_xla_counts_them(image, kernel, window, kind):
    operands = [jax.ShapeDtypeStruct(shape, np.float32) for shape in (image, kernel)]
    settings = {"window_strides": (1, 1), "dimension_numbers": ("NHWC", "HWIO", "NHWC"), **window}
    lowered = jax.jit(functools.partial(jax.lax.conv_general_dilated, **settings)).lower(*operands)
    (attributes,) = re.findall(r"convolution\(.*?\), (.*)", lowered.as_text("hlo"))
    shapes = [f"f32[{','.join(map(str, each.shape))}]{{3,2,1,0}}" for each in (*operands, lowered.out_info)]
    program = entry(
        *(f"%p.{i} = {shape} parameter({i})" for i, shape in enumerate(shapes[:2])),
        f"%c = {shapes[2]} convolution(%p.0, %p.1), {attributes}",
    )
    (found,) = kernels(program, tpu=True)
    costs = lowered.cost_analysis()
    assert costs is not None and (found.kind, found.operations) == (kind, costs["flops"])


def test_a_tpu_fetches_a_part_into_its_own_memory_while_it_computes():
    program = entry(
        "%p.0 = s8[4096]{0:T(1024)(128)(4,1)} parameter(0)",
        "%p.1 = bf16[14,8]{1,0:T(8,128)} parameter(1)",
        "%s.0 = ((s8[4096]{0:T(1024)(128)(4,1)}), s8[1024]{0:T(1024)S(1)}, s32[]{:S(2)}) slice-start(%p.0), slice={[0:1024]}",
        "%s.1 = s8[1024]{0:T(1024)S(1)} slice-done(%s.0)",
        "%c.0 = (bf16[14,8]{1,0:T(8,128)S(1)}, bf16[14,8]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%p.1)",
        "%c.1 = bf16[14,8]{1,0:T(8,128)S(1)} copy-done(%c.0)",
    )
    assert {each.name: each.bytes for each in kernels(program, tpu=True)} == {"s.0": 1024, "c.0": 2 * 14 * 8}


def test_a_loop_of_a_tpu_runs_as_often_as_its_counter_is_small_and_attention_is_a_kernel_of_pallas():
    operands = "".join(f"  %p.{i} = bf16[2,4,256,64]{{3,2,1,0}} parameter({i})\n" for i in range(3))
    program = Hlo.parse(f"""HloModule test

%body (p: bf16[2,4,256,64]) -> bf16[2,4,256,64] {{
{operands}  %f = bf16[2,4,256,64]{{3,2,1,0}} custom-call(%p.0, %p.1, %p.2), custom_call_target="tpu_custom_call", \
metadata={{op_name="jit(step)/while/body/attn/pallas_call"}}
  ROOT %b = bf16[2,4,256,64]{{3,2,1,0}} custom-call(%p.0, %p.1, %p.2), custom_call_target="tpu_custom_call", \
metadata={{op_name="jit(step)/transpose(jvp(x))/while/body/attn/flash_mha_bwd_dq/pallas_call"}}
}}

%condition (q: s32[]) -> pred[] {{
  %q = s32[] parameter(0)
  %limit = s32[]{{:T(128)}} constant(24)
  ROOT %lt = pred[]{{:T(512)}} compare(%q, %limit), direction=LT
}}

ENTRY %main (x: bf16[2,4,256,64]) -> bf16[2,4,256,64] {{
  %x = bf16[2,4,256,64]{{3,2,1,0}} parameter(0)
  ROOT %loop = bf16[2,4,256,64]{{3,2,1,0}} while(%x), condition=%condition, body=%body
}}
""")
    forward, backward = kernels(program, tpu=True)
    assert (forward.kind, backward.kind) == ("attention", "attention's gradient") and forward.keys == 256
    assert forward.times == backward.times == 24 and forward.operations == 4 * 2 * 4 * 256 * 256 * 64
    assert backward.operations == 6 * 2 * 4 * 256 * 256 * 64


def test_scatters_with_sorted_indices_are_found():
    lines = [
        f"%s.{i} = f32[8]{{0}} scatter(%a, %b, %c), indices_are_sorted={flag}"
        for i, flag in enumerate(("true", "false"))
    ]
    assert [each.name for each in scatters(entry(*lines))] == ["s.0"]
