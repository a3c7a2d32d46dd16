"""``attribute-subspaces NAME --flags``: the commands of this project as sub-commands, and their list.

The same as ``python -m experiments.NAME``. The installed script works in any folder, also beside another ``experiments``.
"""

from __future__ import annotations

import difflib
import runpy
import sys
from importlib.metadata import version

from weights_convert import stopping
from weights_convert.command_line import called_as, help_printed

COMMANDS = {
    "extract": "the subspace of one attribute: data, adapters, what they share, a report",
    "analyze": "how far the subspaces of different attributes are disentangled",
    "adapters": "LoRAs of any model: which are alike, what they share, merged and converted",
    "finetune": "fine-tune inside subspaces, or by full fine-tuning, LoRA, PiSSA, AdaLoRA, DoRA, LoRA-XS",
    "evaluate": "accuracy, completeness, normals and depth of a model on data sets; compare two results",
    "reproduce": "the tables of the paper",
    "reconstruct": "photos to points, cameras and depth maps",
    "generate": "data sets in which one attribute varies",
    "prepare": "the data of the downstream tasks",
    "pack": "data sets in few large files, which all commands read",
    "pretrain": "a small VGGT from scratch",
    "status": "what there is in a store: done, running, failed and why",
    "plan": "what fits an accelerator, and what an experiment takes there",
    "benchmark": "time and memory, beside what users would otherwise take",
}
"""Name of each command and what it makes."""
CONVERT = "weights_convert"
"""The command of the package of this name; ``python -m weights_convert`` is the same."""
_OTHERS = {CONVERT: "weights and adapters to and from the formats of VGGT and PEFT"}


def usage() -> str:
    """The list of the commands."""
    names = COMMANDS | _OTHERS
    width = max(map(len, names))
    lines = [f"  {name:{width}}  {what}" for name, what in names.items()]
    return "\n".join(
        [
            "usage: attribute-subspaces COMMAND [--flag=value …]",
            "",
            *lines,
            "",
            "attribute-subspaces COMMAND --help shows the flags of a command.",
        ]
    )


def main() -> None:
    """Run the command that the first argument names.

    Exits with status 0 after the list or ``--version`` was asked for, and with status 2 and one line for an unknown command.
    """
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        with help_printed("attribute-subspaces"):
            print(usage())
        raise SystemExit(0)
    if name == "--version":
        print(f"attribute-subspaces {version('attribute-subspaces')}")
        raise SystemExit(0)
    if name not in COMMANDS and name != CONVERT:
        near = difflib.get_close_matches(name, [*COMMANDS, *_OTHERS], n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join([*COMMANDS, *_OTHERS])}"
        print(f"attribute-subspaces: unknown command {name!r}; {hint}", file=sys.stderr)
        raise SystemExit(2)
    module = "weights_convert.__main__" if name == CONVERT else f"experiments.{name}"
    called_as(f"attribute-subspaces {name}")
    del sys.argv[1]
    stopping.end_without_words()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
