"""LoRAs of any model as they are written, against PEFT, which loads them, and against the updates that were given."""

import copy
import json
import warnings

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


class Attentions(torch.nn.Module):
    """Two attentions, one of which is inside of another module."""

    def __init__(self):
        super().__init__()
        self.mha, self.lin = torch.nn.MultiheadAttention(12, 3), torch.nn.Linear(12, 7)
        self.block = torch.nn.ModuleDict({"attn": torch.nn.MultiheadAttention(8, 2)})


def _load(base, folder):
    """What PEFT makes of a folder, with no word about keys that it lacks or does not know, and its changes of weights."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*adapter keys.*")
        model = peft.PeftModel.from_pretrained(copy.deepcopy(base), folder).merge_and_unload()
    before = base.state_dict()
    return {name: (x - before[name]).numpy() for name, x in model.state_dict().items() if "weight" in name}


def test_both_matrices_of_an_attention_are_loaded_by_peft(tmp_path):
    torch.manual_seed(0)
    base = Attentions()
    patterns = {"rank_pattern": {"mha": 3}, "alpha_pattern": {"mha": 5.0}}
    config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["mha", "attn", "lin"], **patterns)
    model = peft.get_peft_model(copy.deepcopy(base), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter))
    model.save_pretrained(tmp_path / "peft")
    lora, expected = open_lora(tmp_path / "peft"), _load(base, tmp_path / "peft")
    updates = {name: lora.read(name) for name in lora.modules}
    assert (lora.modules["mha.out_proj"].rank, lora.modules["mha.out_proj"].scale) == (3, 5 / 3)
    write_lora(tmp_path / "again", updates, lora.modules)
    names = [set(load_file(tmp_path / name / "adapter_model.safetensors")) for name in ("peft", "again")]
    assert names[0] == names[1] and np.abs(expected["mha.out_proj.weight"]).max() > 0.1
    found = _load(base, tmp_path / "again")
    for name, change in expected.items():
        np.testing.assert_allclose(found[name], change, atol=1e-5)

    updates["mha.out_proj"] = LowRank(np.ones((12, 1), np.float32), np.ones((12, 1), np.float32))
    updates["block.attn"] = LowRank(np.ones((24, 1), np.float32), np.ones((8, 1), np.float32))
    plain = {name: x.plain if "out_proj" in name else x for name, x in lora.modules.items()}  # other scales than theirs
    write_lora(tmp_path / "others", updates, plain)
    _load(base, tmp_path / "others")
    model = peft.PeftModel.from_pretrained(base, tmp_path / "others").base_model.model
    for name, update in updates.items():  # once merged, PEFT 0.21 has added the change of out_proj twice
        layer = model.get_submodule(name.replace(".out_proj", ".base_layer.out_proj"))
        np.testing.assert_allclose(layer.get_delta_weight("default").detach().numpy(), dense(update), atol=1e-5)


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
