import pytest
import torch
import writers
from safetensors.torch import save_file

from ice_lightning.checkpoints import (
    ASSETS,
    load_generator,
    load_network,
    mismatch,
    read_network,
    read_weights,
    save_network,
)
from ice_lightning.checks import IceError
from ice_lightning.modules.stylegan2 import Generator
from ice_lightning.run import run

CONFIG = {"z_dim": 6, "w_dim": 8, "img_resolution": 16, "mapping_layers": 2, "channel_base": 64, "channel_max": 8}
CONFIGS = {
    "skip": {},
    "resnet": {"architecture": "resnet"},
    "orig": {"architecture": "orig"},
    "eight layers": {"mapping_layers": 8, "z_dim": 8},
    "fast mapping": {"lr_multiplier": 1.0, "z_dim": 8},
    "classes": {"c_dim": 3},
    "classes, joint": {"c_dim": 3, "label_norm": "joint", "embed_features": 6},
    "embedding": {"c_dim": 3, "embed_features": 5, "layer_features": 12},
    "clamped": {"conv_clamp": 0.5},
    "box filter": {"resample_filter": [1, 1]},
    "multiplier 1": {"channel_base": 32, "z_dim": 8},
    "own widths": {"channels": [6, 6, 10], "z_dim": 8},
    "128 px": {"img_resolution": 128, "channels": [8] * 6, "z_dim": 8},
    "128 px, classes": {"img_resolution": 128, "channels": [8] * 6, "c_dim": 3},
}


def make(name="skip"):
    """A generator whose every weight matters, with its settings as the writers take them."""
    torch.manual_seed(0)
    G = Generator(**(CONFIG | CONFIGS[name])).eval().requires_grad_(False)
    for key, tensor in G.state_dict().items():
        if key.endswith(("bias", "noise_strength", "w_avg")):
            tensor.add_(0.3 * torch.randn(tensor.shape))
    if CONFIGS[name].get("label_norm") == "joint":
        G.mapping.embed.bias.zero_()  # TensorFlow's StyleGAN2 has none
    defaults = {"c_dim": 0, "conv_clamp": None, "architecture": "skip", "lr_multiplier": 0.01, "label_norm": "apart"}
    G.settings = defaults | CONFIG | CONFIGS[name]
    return G


def bare(G):
    return writers.saved(G.state_dict())


SIMPLE = ("skip", "eight layers", "fast mapping", "multiplier 1", "own widths", "box filter")
DIALECTS = {
    "ada": (writers.ada, [name for name in CONFIGS if name != "classes, joint" and "128" not in name]),
    "ada, protocol 2": (lambda G: writers.ada(G, 2), ["skip"]),
    "tensorflow": (
        writers.tensorflow,
        [
            "skip",
            "resnet",
            "orig",
            "eight layers",
            "fast mapping",
            "classes",
            "classes, joint",
            "clamped",
            "own widths",
        ],
    ),
    "tensorflow, protocol 2": (lambda G: writers.tensorflow(G, protocol=2), ["skip"]),
    "tensorflow, config-d": (lambda G: writers.tensorflow(G, revised=True), ["orig"]),
    "rosinality": (writers.rosinality, [n for n in SIMPLE if n != "skip"]),
    "rosinality, old file": (lambda G: writers.rosinality(G, legacy=True), ["eight layers"]),
    "e4e": (writers.e4e, ["eight layers", "own widths"]),
    "genforce": (writers.genforce, [*SIMPLE, "orig", "classes", "classes, joint"]),
    "genforce, old file": (lambda G: writers.genforce(G, legacy=True), ["skip"]),
    "bare": (bare, ["skip", "resnet", "orig", "classes", "embedding", "own widths"]),
}
CASES = [(dialect, config) for dialect, (_, configs) in DIALECTS.items() for config in configs]


@pytest.mark.parametrize(("dialect", "config"), CASES)
def test_every_dialect_draws_what_the_direct_model_draws(tmp_path, dialect, config):
    G = make(config)
    file = tmp_path / "no_name_helps"
    file.write_bytes(DIALECTS[dialect][0](G))
    loaded = load_generator(file)
    z = G.sample(2, seed=1)
    c = torch.eye(G.c_dim)[:2] if G.c_dim else None
    for space in ("w", "s"):
        torch.testing.assert_close(loaded.convert(z, "z", space, c), G.convert(z, "z", space, c), rtol=1e-5, atol=1e-5)
    for psi in (1.0, 0.5):
        torch.testing.assert_close(loaded(z, c=c, psi=psi), G(z, c=c, psi=psi), rtol=0, atol=1e-5)
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert len(loaded.fingerprint) == 64


def test_a_mean_of_w_that_the_file_lacks_is_made_up_for(tmp_path):
    G = make("eight layers")
    (tmp_path / "g.pt").write_bytes(writers.rosinality(G, average=False))
    loaded = load_generator(tmp_path / "g.pt")
    people = loaded.convert(loaded.sample(2000, seed=5), "z", "w")
    assert (loaded.mapping.w_avg - people.mean(0)).abs().max() < 5 * people.std() / 2000**0.5


def test_a_generator_without_noise(tmp_path):
    G = make()
    state = {k: v.contiguous() for k, v in G.state_dict().items() if "noise" not in k and "w_avg" not in k}
    save_file(state, tmp_path / "g.safetensors")
    z = G.sample(1)
    torch.testing.assert_close(load_generator(tmp_path / "g.safetensors")(z), G(z, noise="none"), rtol=0, atol=1e-5)


def test_a_class_of_a_conditional_generator(tmp_path):
    G = make("classes")
    (tmp_path / "g.pkl").write_bytes(writers.ada(G))
    z = G.sample(2)
    loaded = load_generator(tmp_path / "g.pkl", label=2)
    torch.testing.assert_close(loaded(z), G(z, c=torch.eye(3)[[2, 2]]), rtol=0, atol=1e-5)
    with pytest.raises(
        IceError, match=r"class labels of shape \(2, 3\), got none: set generator.label to a class from 0"
    ):
        load_generator(tmp_path / "g.pkl")(z)
    with pytest.raises(IceError, match="got 3 for a generator of 3 classes"):
        load_generator(tmp_path / "g.pkl", label=3)


def test_a_conditional_tensorflow_pickle_is_searched_like_any_other(tmp_path, compose):
    (tmp_path / "g.pkl").write_bytes(writers.tensorflow(make("128 px, classes")))
    few = ("latents.count=1", "solver.passes=4", "criterion.rank=1")
    given = f"generator.checkpoint={tmp_path / 'g.pkl'}"
    assert run(compose(given, "generator.label=1", "criterion=background", *few)).metrics["rank"] == 1
    with pytest.raises(Exception, match=r"set generator\.label to a class from 0 to 2"):
        run(compose(given, "criterion=background", *few))


OTHERS = {
    "a StyleGAN3 generator": {"synthesis.input.freqs": torch.zeros(2), "mapping.fc0.weight": torch.zeros(2, 2)},
    "a StyleGAN1 generator": {"generator.progression.0.conv1.weight": torch.zeros(2)},
    "a discriminator alone": {"b8.fromrgb.weight": torch.zeros(2)},
    "a DCGAN": {"main.0.weight": torch.zeros(2)},
    "an EG3D generator": {"backbone.synthesis.b4.const": torch.zeros(2)},
    "weights named a, b": {"a": torch.zeros(2), "b": torch.zeros(2)},
    "no weights": {"epoch": 3},
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_networks_are_named(tmp_path, what):
    (tmp_path / "g.pt").write_bytes(writers.saved(OTHERS[what]))
    with pytest.raises(
        IceError, match=f"expected a StyleGAN2 generator at .*, got {what}.*: pass a StyleGAN2 generator"
    ):
        load_generator(tmp_path / "g.pt")


def test_stylegan3_in_a_pickle_is_named(tmp_path):
    first = writers.persistent("SynthesisInput", {}, {"freqs": torch.zeros(2)})
    last = writers.persistent("SynthesisLayer", {}, {"weight": torch.zeros(2)}, conv_clamp=None)
    other = writers.persistent("SynthesisLayer", {}, {"weight": torch.zeros(2)}, conv_clamp=256)
    parts = {"input": first, "L0_36_512": other, "L14_256_3": last}
    G = writers.persistent("Generator", {"synthesis": writers.persistent("SynthesisNetwork", parts, {})}, {})
    (tmp_path / "g.pkl").write_bytes(writers.pickled({"G_ema": G}))
    with pytest.raises(IceError, match=r"got a StyleGAN3 generator: pass a StyleGAN2 generator"):
        load_generator(tmp_path / "g.pkl")


def test_stylegan1_in_tensorflow_is_named(tmp_path):
    state = {"version": 3, "static_kwargs": {}, "components": {}, "build_func_name": "G_style", "variables": []}
    network = writers.Call("dnnlib.tflib.network.Network", new=True, state=state)
    (tmp_path / "g.pkl").write_bytes(writers.pickled((network, network, network)))
    with pytest.raises(IceError, match=r"got a StyleGAN1 generator \(config-a\): pass a StyleGAN2"):
        load_generator(tmp_path / "g.pkl")


CONTENTS = {
    b"version https://git-lfs.github.com/spec/v1": "a Git LFS pointer, which stands for the file: fetch",
    b"<!DOCTYPE html><html>": "a web page .*: fetch the file itself",
    b"\x1f\x8b\x08\x00": "a compressed archive",
    b"": "an empty one",
    b"hello": "a file that begins with b'hello'",
}


@pytest.mark.parametrize("content", CONTENTS)
def test_files_that_are_no_checkpoints_are_named(tmp_path, content):
    (tmp_path / "g.pkl").write_bytes(content)
    with pytest.raises(IceError, match=CONTENTS[content]):
        load_generator(tmp_path / "g.pkl")


def test_nan_weights_are_found_in_every_dialect(tmp_path):
    G = make("eight layers")
    G.synthesis.b4.const.view(-1)[0] = float("nan")
    for write in (writers.ada, writers.tensorflow, writers.rosinality, writers.genforce, bare):
        (tmp_path / "g").write_bytes(write(G))
        with pytest.raises(IceError, match=r"finite numbers in synthesis\.b4\.const .*got 1 NaN or infinite of 128"):
            load_generator(tmp_path / "g")


def test_a_missing_and_a_foreign_weight(tmp_path):
    state = make().state_dict()
    (tmp_path / "g").write_bytes(writers.saved({k: v for k, v in state.items() if k != "synthesis.b8.conv0.bias"}))
    with pytest.raises(IceError, match=r"got one without synthesis\.b8\.conv0\.bias \(1 such weights\)"):
        load_generator(tmp_path / "g")
    (tmp_path / "g").write_bytes(writers.saved(state | {"synthesis.b8.attention.weight": torch.zeros(2)}))
    with pytest.raises(IceError, match=r"got one with a foreign synthesis\.b8\.attention\.weight"):
        load_generator(tmp_path / "g")
    (tmp_path / "g").write_bytes(writers.saved(state | {"synthesis.b8.conv0.bias": torch.zeros(3)}))
    with pytest.raises(IceError, match=r"got synthesis\.b8\.conv0\.bias of shape \(3,\) instead of \(8,\)"):
        load_generator(tmp_path / "g")


def test_counters_of_batch_norms_may_be_missing_and_nothing_else():
    wanted = torch.nn.BatchNorm2d(4).state_dict()
    counter = {"num_batches_tracked"}
    assert mismatch(wanted, {k: v for k, v in wanted.items() if k not in counter}) == ""
    assert mismatch(wanted, {k: v for k, v in wanted.items() if k != "running_mean"}).startswith(
        "one without running_mean"
    )


def test_a_file_of_ours_with_the_weights_of_another_network_is_told(tmp_path):
    save_network(tmp_path / "a.safetensors", torch.nn.Linear(3, 1), "parser", {"in_features": 2, "out_features": 1})
    with pytest.raises(IceError, match=r"weights of a Linear in .*, got weight of shape \(1, 3\) instead of \(1, 2\)"):
        load_network(tmp_path / "a.safetensors", "parser", torch.nn.Linear)


# Our own files


def write(path, change=lambda state: None, **settings):
    G = make()
    change(G.state_dict())
    save_network(path, G, "generator", CONFIG | settings, half=False)
    return G


def test_what_is_written_is_read(tmp_path):
    G = write(tmp_path / "g.safetensors")
    again = load_generator(tmp_path / "g.safetensors")
    assert all(torch.equal(tensor, G.state_dict()[name]) for name, tensor in again.state_dict().items())
    assert again.dialect == "ice_lightning"


def test_nothing_is_left_beside_the_file(tmp_path):
    write(tmp_path / "g.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["g.safetensors"]


def test_a_missing_checkpoint(tmp_path):
    with pytest.raises(
        IceError, match=r"expected a StyleGAN2 generator at .*no\.safetensors, got none: check the path"
    ):
        load_generator(tmp_path / "no.safetensors")


def test_a_truncated_asset(tmp_path):
    whole = (ASSETS / "generator.safetensors").read_bytes()
    (tmp_path / "g.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IceError, match=r"got a broken safetensors file .*: fetch it again"):
        load_generator(tmp_path / "g.safetensors")


def test_a_header_that_lies_builds_nothing(tmp_path):
    write(tmp_path / "g.safetensors", img_resolution=2**20, mapping_layers=10**9)
    assert load_generator(tmp_path / "g.safetensors").resolution == 16


def test_another_kind_of_network():
    with pytest.raises(IceError, match=r"expected a generator in .*, got a parser"):
        read_network(ASSETS / "parser.safetensors", "generator")
    with pytest.raises(IceError, match=r"expected a StyleGAN2 generator at .*, got a parser"):
        load_generator(ASSETS / "parser.safetensors")


def test_the_assets_fit_into_12_mb():
    assert sum(p.stat().st_size for p in ASSETS.glob("*.safetensors")) <= 12 * 2**20


def test_weights_alone(tmp_path):
    state = {"module.a.weight": torch.randn(3, 2), "module.a.steps": torch.tensor(5)}
    (tmp_path / "w.pth").write_bytes(writers.saved({"state_dict": state}))
    assert torch.equal(read_weights(tmp_path / "w.pth", "weights")["a.weight"], state["module.a.weight"])
    assert read_weights(tmp_path / "w.pth", "weights")["a.steps"] == 5
    both = {"encoder.weight": torch.zeros(1), "decoder.weight": torch.ones(2), "module.weight": torch.ones(3)}
    save_file(both, tmp_path / "w.safetensors")
    assert read_weights(tmp_path / "w.safetensors", "weights").keys() == both.keys()


def test_what_wraps_a_decoder_is_named(tmp_path):
    (tmp_path / "g.pt").write_bytes(writers.e4e(make("own widths")))
    assert load_generator(tmp_path / "g.pt").dialect == "e4e or pSp, a rosinality decoder"
    (tmp_path / "g.pt").write_bytes(writers.rosinality(make("own widths")))
    assert load_generator(tmp_path / "g.pt").dialect == "rosinality"
