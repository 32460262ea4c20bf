import pytest
import torch

from ice_lightning.checkpoints import ASSETS, load_generator, read_network, save_network
from ice_lightning.checks import IceError
from ice_lightning.modules.stylegan2 import Generator

CONFIG = {
    "z_dim": 4,
    "w_dim": 4,
    "img_resolution": 8,
    "mapping_layers": 1,
    "channel_base": 32,
    "channel_max": 4,
}


def write(path, change=lambda state: None):
    torch.manual_seed(0)
    G = Generator(**CONFIG)
    with torch.no_grad():
        change(G.state_dict())
    save_network(path, G, "generator", CONFIG, half=False)
    return G


def test_what_is_written_is_read(tmp_path):
    G = write(tmp_path / "g.safetensors")
    again = load_generator(tmp_path / "g.safetensors")
    assert all(torch.equal(tensor, G.state_dict()[name]) for name, tensor in again.state_dict().items())
    z = again.sample(2)
    torch.testing.assert_close(again(z), G(z), rtol=0, atol=1e-6)  # channels last adds up in another order
    assert len(again.fingerprint) == 64
    assert not any(p.requires_grad for p in again.parameters())
    assert not again.training


def test_nothing_is_left_beside_the_file(tmp_path):
    write(tmp_path / "g.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["g.safetensors"]


def test_a_missing_checkpoint(tmp_path):
    with pytest.raises(IceError, match=r"expected a generator file at .*no\.safetensors, got none: check the path"):
        load_generator(tmp_path / "no.safetensors")


def test_a_truncated_asset(tmp_path):
    whole = (ASSETS / "generator.safetensors").read_bytes()
    (tmp_path / "g.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IceError, match=r"expected a whole safetensors file at .*: fetch or write the file again"):
        load_generator(tmp_path / "g.safetensors")


def test_nan_weights(tmp_path):
    write(tmp_path / "g.safetensors", lambda state: state["synthesis.b4.const"].view(-1)[0].fill_(float("nan")))
    with pytest.raises(IceError, match=r"finite numbers in synthesis\.b4\.const .*got 1 NaN or infinite of 64"):
        load_generator(tmp_path / "g.safetensors")


def test_another_kind_of_network():
    with pytest.raises(IceError, match=r"expected a generator in .*, got a parser"):
        read_network(ASSETS / "parser.safetensors", "generator")


def test_the_assets_fit_into_12_mb():
    assert sum(p.stat().st_size for p in ASSETS.glob("*.safetensors")) <= 12 * 2**20
