"""LoRAs of any model as they are written, against PEFT, which loads them, and against the updates that were given."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from subspace import LowRank
from subspace.errors import InputError
from tests.subspace.oracle import dense
from weights_convert.lora_file import LoraModule
from weights_convert.lora_layouts import open_lora
from weights_convert.lora_write import write_lora

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
NAMES = ("single.0.proj_out", "single.1.proj_out", "proj_out")


class Flux(torch.nn.Module):
    """One name at the top is the end of two others, as in FLUX."""

    def __init__(self):
        super().__init__()
        self.single = torch.nn.ModuleList(torch.nn.ModuleDict({"proj_out": torch.nn.Linear(7, 8)}) for _ in range(2))
        self.proj_out = torch.nn.Linear(7, 8)


def write_flux(folder, ranks, scales):
    """Random updates of ``NAMES`` with these ranks and scales, written for PEFT."""
    rng = np.random.default_rng(0)
    updates, modules = {}, {}
    for name, rank, scale in zip(NAMES, ranks, scales, strict=True):
        A, B = (rng.standard_normal((size, rank)).astype(np.float32) for size in (8, 7))
        updates[name] = LowRank(A, B)
        modules[name] = LoraModule((8, 7), rank, scale, "", "", lambda up, down: (up, down))
    write_lora(folder, updates, modules)
    return updates


@pytest.mark.parametrize(("ranks", "scales"), [((2, 2, 2), (1.0, 1.0, 4.0)), ((2, 2, 4), (1.0, 1.0, 1.0))])
def test_a_name_that_others_end_in_keeps_its_rank_and_scale_to_itself(ranks, scales, tmp_path):
    updates = write_flux(tmp_path / "flux", ranks, scales)
    lora = open_lora(tmp_path / "flux")
    model = peft.PeftModel.from_pretrained(Flux(), tmp_path / "flux").base_model.model
    for name, rank, scale in zip(NAMES, ranks, scales, strict=True):
        expected = dense(updates[name])
        assert (lora.modules[name].rank, lora.modules[name].scale) == (rank, scale)
        np.testing.assert_allclose(dense(lora.read(name)), expected, atol=1e-6)
        added = model.get_submodule(name).get_delta_weight("default").detach().numpy()
        np.testing.assert_allclose(added, expected, atol=1e-5)


@pytest.mark.parametrize(("value", "dtype"), [(1e5, np.float16), (np.inf, np.float32), (1e300, np.float32)])
def test_what_the_type_cannot_hold_is_refused(value, dtype, tmp_path):
    update = LowRank(np.full((4, 1), value), np.ones((4, 1)))
    with pytest.raises(InputError, match=r"x has .*: nothing was written"):
        write_lora(tmp_path / "lora", {"x": update}, {"x": LoraModule.made((4, 4), 1)}, dtype=dtype)
    assert not list(tmp_path.iterdir())


def test_a_layout_of_a_folder_has_no_files_name(tmp_path):
    update = LowRank(np.ones((4, 1)), np.ones((4, 1)))
    with pytest.raises(InputError, match=r"x\.safetensors: the layout peft is a folder, whose name must not end in"):
        write_lora(tmp_path / "x.safetensors", {"x": update}, {"x": LoraModule.made((4, 4), 1)})


@pytest.mark.parametrize("name", ["lora", "lora.pt", "folder.safetensors"])
def test_a_layout_of_one_file_is_written_to_a_name_by_which_programs_know_it(name, tmp_path):
    (tmp_path / "folder.safetensors").mkdir()
    update = LowRank(np.ones((4, 1)), np.ones((4, 1)))
    with pytest.raises(InputError, match=f"{name}: the layout kohya is one file, whose name must end in .safetensors"):
        write_lora(tmp_path / name, {"x": update}, {"x": LoraModule.made((4, 4), 1)}, to="kohya")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.safetensors"]


def test_names_in_kohyas_spelling(tmp_path):
    update, module = LowRank(np.ones((4, 1)), np.ones((4, 1))), LoraModule.made((4, 4), 1)

    def written(*names):
        path = tmp_path / "k.safetensors"
        path.unlink(missing_ok=True)
        write_lora(path, dict.fromkeys(names, update), dict.fromkeys(names, module), to="kohya")
        return {name.partition(".")[0] for name in load_file(path)}

    assert written("fc", "unet.a.b", "x.y") == {"lora_fc", "lora_unet_a_b", "lora_x_y"}
    assert written("lora_x_y") == {"lora_x_y"}
    with pytest.raises(
        InputError, match=r"kohya cannot hold blocks_attn\.q beside blocks\.attn_q \(kohya's spelling, lora_bl"
    ):
        written("blocks.attn_q", "blocks_attn.q")


def test_folders_of_older_versions_whose_patterns_have_no_anchor_are_read(tmp_path):
    updates = write_flux(tmp_path / "flux", (2, 4, 2), (1.0, 3.0, 1.0))
    config = tmp_path / "flux" / "adapter_config.json"
    content = json.loads(config.read_text())
    for key in ("rank_pattern", "alpha_pattern"):
        content[key] = {pattern.removeprefix("^"): value for pattern, value in content[key].items()}
        assert list(content[key]) == [r"single\.1\.proj_out"]
    config.write_text(json.dumps(content))
    for name, update in updates.items():
        np.testing.assert_allclose(dense(open_lora(tmp_path / "flux").read(name)), dense(update), atol=1e-6)
