import pytest
import reference
import torch
from torch.func import jvp

from ice_lightning.checks import IceError
from ice_lightning.modules.stylegan2 import Generator
from ice_lightning.modules.synthesis import modulated_conv
from ice_lightning.ops import setup_filter

SMALL = {
    "z_dim": 8,
    "w_dim": 8,
    "img_resolution": 16,
    "mapping_layers": 2,
    "channel_base": 128,
    "channel_max": 8,
}


def small(**changes):
    torch.manual_seed(0)
    return Generator(**(SMALL | changes)).double().eval()


@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize("demodulate", [True, False])
def test_modulation_equals_the_per_sample_weight_form(up, demodulate):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, 8, 8, generator=draw, dtype=torch.float64)
    weight = torch.randn(6, 5, 3, 3, generator=draw, dtype=torch.float64)
    s = torch.randn(3, 5, generator=draw, dtype=torch.float64) + 1
    f = setup_filter([1, 3, 3, 1]).double()
    ours = modulated_conv(x, weight, s, demodulate, up, f)
    textbook = reference.modulated_conv(x, weight, s, demodulate, up, f)
    torch.testing.assert_close(ours, textbook, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_every_architecture_draws_and_all_spaces_agree(architecture):
    G = small(architecture=architecture)
    z = G.sample(2, seed=3).double()
    image = G(z)
    assert image.shape == (2, 3, 16, 16)
    for space in ("w", "w+", "s"):
        u = G.convert(z, "z", space)
        assert u.shape == (2, G.dim(space))
        torch.testing.assert_close(G(u, space), image, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("space", ["z", "w", "w+", "s"])
@pytest.mark.parametrize("architecture", ["skip", "resnet"])
def test_jvp_equals_finite_differences_and_the_adjoint(space, architecture):
    G = small(architecture=architecture)
    u = G.convert(G.sample(1, seed=1).double(), "z", space)
    draw = torch.Generator().manual_seed(0)
    v = torch.randn(u.shape, generator=draw, dtype=torch.float64)
    image, tangent = jvp(lambda t: G(t, space), (u,), (v,))
    h = 1e-6
    torch.testing.assert_close(tangent, (G(u + h * v, space) - G(u - h * v, space)) / (2 * h), rtol=1e-5, atol=1e-7)
    y = torch.randn(image.shape, generator=draw, dtype=torch.float64)
    u.requires_grad_()
    (pulled,) = torch.autograd.grad(G(u, space), u, y)
    torch.testing.assert_close((tangent * y).sum(), (v * pulled).sum(), rtol=1e-10, atol=1e-10)


def test_batch_equals_single():
    G = small()
    z = G.sample(3, seed=0).double()
    torch.testing.assert_close(G(z)[1:2], G(z[1:2]), rtol=1e-12, atol=1e-12)


def test_state_dict_has_the_names_of_the_published_checkpoints():
    names = set(small().state_dict())
    assert {
        "mapping.fc0.weight", "mapping.fc1.bias", "mapping.w_avg", "synthesis.b4.const",
        "synthesis.b4.conv1.affine.weight",
        "synthesis.b4.conv1.noise_const", "synthesis.b4.conv1.noise_strength", "synthesis.b4.torgb.affine.bias",
        "synthesis.b8.conv0.weight", "synthesis.b8.conv0.resample_filter", "synthesis.b16.torgb.weight",
    } <= names  # fmt: skip
    assert "synthesis.b8.skip.weight" in small(architecture="resnet").state_dict()
    assert "mapping.embed.weight" in small(c_dim=3).state_dict()


def test_the_published_1024_px_generator_has_9088_styles():
    with torch.device("meta"):
        G = Generator()
    assert G.dim("s") == 9088
    assert G.num_ws == 18


def test_truncation_pulls_to_the_mean_and_psi_1_leaves():
    G = small()
    z = G.sample(2, seed=0).double()
    G.mapping.w_avg.normal_(generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(G.convert(z, "z", "w", psi=0.0), G.mapping.w_avg.expand(2, -1))
    half = (G.convert(z, "z", "w") + G.mapping.w_avg) / 2
    torch.testing.assert_close(G.convert(z, "z", "w", psi=0.5), half)


def test_noise_const_is_repeatable_and_random_is_not():
    G = small()
    G.synthesis.b8.conv1.noise_strength.data.fill_(0.5)
    z = G.sample(1).double()
    assert torch.equal(G(z), G(z))
    assert not torch.equal(G(z, noise="random"), G(z, noise="random"))
    assert not torch.equal(G(z, noise="none"), G(z))


def test_conv_clamp_limits_activations():
    G = small(conv_clamp=0.01)
    image = G(G.sample(2).double())
    assert (2 * image - 1).abs().max() <= 0.01 * 4  # one clamped torgb per block, four times at most


def test_labels_change_the_person():
    G = small(c_dim=2)
    z = G.sample(2).double()
    one, two = torch.eye(2).double().split(1)
    assert not torch.equal(G(z[:1], c=one), G(z[:1], c=two))
    with pytest.raises(IceError, match=r"class labels of shape \(2, 2\), got none"):
        G(z)


def test_people_do_not_depend_on_how_they_are_drawn():
    G = small()
    torch.testing.assert_close(G.sample(5, seed=10)[3], G.sample(1, seed=13)[0])


def test_sentences():
    G = small()
    with pytest.raises(IceError, match=r"space out of z, w, w\+, s, got 'S': "):
        G.dim("S")
    with pytest.raises(IceError, match="down the chain"):
        G.convert(torch.zeros(1, 8), "w", "z")
    with pytest.raises(IceError, match="architecture out of skip, resnet, orig, got 'skp': did you mean 'skip'"):
        small(architecture="skp")
    with pytest.raises(IceError, match="a power of two, at least 8, got 100"):
        small(img_resolution=100)
    with pytest.raises(IceError, match="people of at least 1, got 0"):
        G.sample(0)


def test_layers_share_out_all_coordinates(generator):
    for space in ("w+", "s"):
        bands = [generator.coordinates(space, name) for name in ("coarse", "middle", "fine")]
        assert torch.equal(torch.cat(bands), torch.arange(generator.dim(space)))
    assert torch.equal(generator.coordinates("w+", "1,3-4"), torch.cat([torch.arange(96, 192), torch.arange(288, 480)]))
    styled = generator.style_widths
    assert torch.equal(generator.coordinates("s", "1"), torch.arange(styled[0], styled[0] + styled[1]))
    assert torch.equal(generator.coordinates("s", "32px-"), generator.coordinates("s", "8-16"))
    assert torch.equal(generator.coordinates("z"), torch.arange(generator.z_dim))


def test_fine_layers_are_those_from_64_px_on(generator):
    u = generator.convert(generator.sample(1), "z", "w+")
    moved = u.clone()
    moved[:, generator.coordinates("w+", "fine")] += 1
    with torch.no_grad():
        s, other = generator.convert(u, "w+", "s"), generator.convert(moved, "w+", "s")
    resolutions = torch.tensor(generator.synthesis.resolutions()).repeat_interleave(
        torch.tensor(generator.style_widths)
    )
    assert resolutions[(s != other)[0]].min() == 32, (
        "the torgb at 32 px shares its row with the first 64-px convolution"
    )
    assert (s == other)[0][resolutions < 32].all()
