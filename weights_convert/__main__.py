"""Converts weights of VGGT between the official form and this project's.

``python -m weights_convert --input=model.safetensors --output=weights/vggt_1b`` writes a folder that every command of this
project loads; ``python -m weights_convert --to=official --input=weights/vggt_1b --output=vggt.safetensors`` writes an
official file back, every tensor bit by bit what it was. Needs less than
0.5 GB of memory whatever the model's size (a PyTorch file is mapped, and its pages count as well).

``python -m weights_convert --to=peft --input=adapter.safetensors --output=lora`` writes an adapter of this project as a
folder that PEFT loads into the official model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from subspace.errors import InputError
from vggt_jax.missing import nearest_path
from weights_convert.command_line import run
from weights_convert.flag_errors import refuse
from weights_convert.path_flags import DEFINE_path, DEFINE_path_or_name


def main(_: Sequence[str]) -> None:
    options = flags.FLAGS
    for name in ("input", "output"):
        if not options[name].value:
            raise InputError(f"--{name} is needed, see --help")

    if options.to == "peft":
        refuse(["dtype"], "with --to=peft, which writes float32")
        refuse(["allow_nonfinite"], "with --to=peft: adapters with NaN are never read")
        _adapter_to_peft(Path(options.input), options.output)
        return

    from tqdm import tqdm  # these take seconds, and are not needed to say what is wrong with the flags

    from weights_convert.checkpoint import open_checkpoint
    from weights_convert.convert import check_output, convert

    started = time.perf_counter()
    output = options.output
    check_output(output, options.to)  # before anything is downloaded
    checkpoint = open_checkpoint(options.input, dtype=options.dtype)
    config = checkpoint.config
    print(
        f"read {checkpoint.path} ({checkpoint.form}): width {config.width}, {config.aggregator.depth} layers, "
        f"images {config.image_size}×{config.image_size}, patches of {config.patch_size}, "
        f"heads {', '.join(config.heads) or 'none'}; {checkpoint.size:,} parameters"
    )
    for remark in checkpoint.remarks:
        print(remark)
    with tqdm(desc="convert", unit="B", unit_scale=True, unit_divisor=1024, disable=None, leave=False) as bar:

        def show(written: int, total: int) -> None:
            bar.total = total
            bar.update(written - bar.n)

        size = convert(
            checkpoint,
            output,
            to=options.to,
            dtype=options.dtype,
            allow_nonfinite=options.allow_nonfinite,
            progress=show,
        )
    types = options.dtype or "/".join(sorted({str(dtype) for dtype in checkpoint.types.values()}))
    seconds = time.perf_counter() - started
    print(f"wrote {options.output}: {types}, {_size(size)} in {seconds:.1f} s")


def _adapter_to_peft(source: Path, output: Path) -> None:
    from vggt_jax.adapters import load_adapter
    from vggt_jax.atomic import check_absent
    from weights_convert.peft import write_peft

    check_absent(output)
    if source.is_dir():
        raise InputError(f"{source} is a folder; to=peft takes the file of an adapter", argument="input")
    if not source.exists():
        raise InputError(f"there is no {source}{nearest_path(source)}", argument="input")
    adapter = load_adapter(source)
    print(f"read {source}: {len(adapter.deltas)} updates of {adapter.base.name} ({adapter.base.fingerprint})")
    write_peft(output, adapter.deltas, adapter.base.config, scale=adapter.scale, base=adapter.base)
    print(f"wrote {output}: {_size(sum(file.stat().st_size for file in output.iterdir()))}")


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


if __name__ == "__main__":
    DEFINE_path_or_name(
        "input",
        None,
        "weights to read: a .safetensors file, its .index.json where it is split, a .pt, .pth, .ckpt or .bin file (needs "
        "PyTorch), a folder "
        "with one of these, or hf:facebook/VGGT-1B, which is downloaded; with --to=peft an adapter's file",
    )
    DEFINE_path("output", None, "what to write: a new folder, or with --to=official a new .safetensors file")
    flags.DEFINE_enum(
        "to",
        "jax",
        ["jax", "official", "peft"],
        "weights in this project's form, or with the official names and layouts; or an adapter as a folder of PEFT's",
    )
    flags.DEFINE_enum(
        "dtype",
        None,
        ["float32", "bfloat16"],
        "type of the written weights; as in the input if not given, float32 with --to=peft",
    )
    flags.DEFINE_bool("allow_nonfinite", False, "convert weights with NaN or infinity too, which are refused otherwise")
    run(main)
