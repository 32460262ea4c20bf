"""Public face models: files of their true formats with random weights, and forwards written out shape by shape."""

import math
import re

import pytest
import torch
from hydra.utils import instantiate
from torch.nn import functional as F

from ice_lightning.checkpoints import save_network
from ice_lightning.checks import IceError
from ice_lightning.faces.pretrained import (  # fmt: skip
    IDENTITY,
    PARSER,
    load_pretrained,
    make_identity,
    make_parser,
    pretrained_faces,
)
from ice_lightning.jacobians.linearize import Jacobian
from ice_lightning.modules.bisenet import MEAN, STD, BiSeNet
from ice_lightning.modules.cropping import (
    TEMPLATE,
    AlignedIdentity,
    CroppedParser,
    FaceAlignment,
    five_points,
    similarity,
)
from ice_lightning.modules.iresnet import DEPTHS, IResNet
from ice_lightning.modules.stylegan2 import Generator
from ice_lightning.run import run


def randomised(net):
    """Batch norms that aren't the identity, so that a forgotten one shows."""
    draw = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=draw)
            module.running_var.uniform_(0.5, 1.5, generator=draw)
            module.weight.data.uniform_(0.5, 1.5, generator=draw)
            module.bias.data.normal_(0, 0.1, generator=draw)
    return net.eval().requires_grad_(False)


def norm(state, name, x):
    """Batch norm in eval mode, by its definition."""
    mean, var, weight, bias = (
        state[f"{name}.{part}"].reshape(1, -1, *[1] * (x.ndim - 2))
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def conv(state, name, x, stride=1):
    w = state[f"{name}.weight"]
    return F.conv2d(x, w, stride=stride, padding=w.shape[-1] // 2)


def bisenet_by_hand(s, image, size):
    """zllrunning/face-parsing.PyTorch's architecture, written out over its state dict."""

    def cbr(name, x):
        return norm(s, f"{name}.bn", conv(s, f"{name}.conv", x)).relu()

    def block(name, x, stride):
        y = norm(s, f"{name}.bn1", conv(s, f"{name}.conv1", x, stride)).relu()
        y = norm(s, f"{name}.bn2", conv(s, f"{name}.conv2", y))
        if f"{name}.downsample.0.weight" in s:
            x = norm(s, f"{name}.downsample.1", conv(s, f"{name}.downsample.0", x, stride))
        return (x + y).relu()

    def arm(name, x):
        x = cbr(f"{name}.conv", x)
        return x * norm(s, f"{name}.bn_atten", conv(s, f"{name}.conv_atten", x.mean((2, 3), keepdim=True))).sigmoid()

    x = F.interpolate(image, (size, size), mode="bilinear", antialias=True) if image.shape[-1] != size else image
    mean, std = (torch.tensor(each, dtype=x.dtype)[:, None, None] for each in (MEAN, STD))
    x = (x - mean) / std
    x = F.max_pool2d(norm(s, "cp.resnet.bn1", conv(s, "cp.resnet.conv1", x, 2)).relu(), 3, 2, 1)
    features = {}
    for i, stride in ((1, 1), (2, 2), (3, 2), (4, 2)):
        x = block(f"cp.resnet.layer{i}.1", block(f"cp.resnet.layer{i}.0", x, stride), 1)
        features[i] = x
    up = torch.nn.Upsample(scale_factor=2)
    deep = arm("cp.arm32", features[4]) + cbr("cp.conv_avg", features[4].mean((2, 3), keepdim=True))
    deep = arm("cp.arm16", features[3]) + cbr("cp.conv_head32", up(deep))
    both = cbr("ffm.convblk", torch.cat([features[2], cbr("cp.conv_head16", up(deep))], 1))
    gate = conv(s, "ffm.conv2", conv(s, "ffm.conv1", both.mean((2, 3), keepdim=True)).relu()).sigmoid()
    logits = conv(s, "conv_out.conv_out", cbr("conv_out.conv", both + both * gate))
    return F.interpolate(logits, image.shape[-2:], mode="bilinear", align_corners=True)


def iresnet_by_hand(s, crop, depths):
    """insightface's iresnet, written out over its state dict."""

    def prelu(name, x):
        return torch.where(x > 0, x, x * s[f"{name}.weight"][:, None, None])

    x = prelu("prelu", norm(s, "bn1", conv(s, "conv1", crop * 2 - 1)))
    for i, depth in enumerate(depths, 1):
        for j in range(depth):
            name, stride = f"layer{i}.{j}", 2 if j == 0 else 1
            y = prelu(f"{name}.prelu", norm(s, f"{name}.bn2", conv(s, f"{name}.conv1", norm(s, f"{name}.bn1", x))))
            y = norm(s, f"{name}.bn3", conv(s, f"{name}.conv2", y, stride))
            if j == 0:
                x = norm(s, f"{name}.downsample.1", conv(s, f"{name}.downsample.0", x, 2))
            x = x + y
    x = norm(s, "bn2", x).flatten(1) @ s["fc.weight"].T + s["fc.bias"]
    return norm(s, "features", x)


def test_bisenet_equals_its_forward_by_hand():
    net = randomised(BiSeNet(size=64)).double()
    image = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = bisenet_by_hand(net.state_dict(), image, 64)
    torch.testing.assert_close(net(image), expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def test_iresnet_equals_its_forward_by_hand():
    depths = (2, 3, 2, 1)
    net = randomised(IResNet(depths)).double()
    crop = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(net(crop), iresnet_by_hand(net.state_dict(), crop, depths), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name,millions", [(50, 43.59), (100, 65.16)])
def test_the_public_sizes(name, millions):
    with torch.device("meta"):
        net = IResNet(DEPTHS[name])
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 2) == millions


def test_a_file_decides_the_variant(tmp_path):
    small = randomised(IResNet((1, 2, 1, 1), dim=32))
    torch.save({f"module.{k}": v for k, v in small.state_dict().items()}, tmp_path / "backbone.pth")
    found = load_pretrained(tmp_path / "backbone.pth", IDENTITY, make_identity)
    crop = torch.rand(1, 3, 112, 112)
    assert torch.equal(found(crop), small(crop))


def test_similarity_undoes_a_turn_a_scale_and_a_shift():
    points, turn = torch.randn(1, 5, 2, dtype=torch.float64), 0.4
    R = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]], dtype=torch.float64)
    A, b = similarity(points, 2.5 * points @ R.T + 3)
    torch.testing.assert_close(A[0], 2.5 * R)
    torch.testing.assert_close(b, torch.full((1, 2), 3.0, dtype=torch.float64))


def test_an_aligned_face_is_cropped_as_it_is():
    # Landmarks already at the template, in a picture of 112 px: the crop is the picture.
    points = torch.zeros(1, 68, 2)
    for ids, at in zip((range(36, 42), range(42, 48), [30], [48], [54]), TEMPLATE, strict=True):
        points[:, list(ids)] = at
    torch.testing.assert_close(five_points(points)[0], TEMPLATE)
    image = torch.rand(1, 3, 112, 112)
    net = AlignedIdentity(torch.nn.Identity(), lambda x: points, side=112)
    torch.testing.assert_close(net.crop(image), image, rtol=0, atol=1e-4)


def test_what_lies_outside_the_face_crop_is_background():
    net = CroppedParser(
        lambda x: torch.ones(1, 19, *x.shape[-2:]) * torch.arange(19)[:, None, None], (0.25, 0.25, 0.75, 0.75)
    )
    parse = net(torch.rand(1, 3, 64, 64)).argmax(1)
    assert (parse[0, 16:48, 16:48] == 18).all()
    assert (parse == 18).sum() == 32 * 32
    with pytest.raises(IceError, match="a square face crop"):
        CroppedParser(torch.nn.Identity(), (0, 0, 1, 0.5))(torch.rand(1, 3, 64, 64))


def test_heatmaps_become_points_in_the_picture():
    maps = torch.zeros(1, 68, 64, 64)
    maps[:, :, 10, 20] = 1
    net = FaceAlignment(lambda x: [maps], crop=(0.5, 0.5, 1, 1))
    points = net(torch.rand(1, 3, 256, 256))
    expected = torch.tensor([128 + 20.5 * 2 - 0.5, 128 + 10.5 * 2 - 0.5])
    torch.testing.assert_close(points[0, 0], expected, rtol=0, atol=1e-2)


def gaussians(points, peak=1.0, sigma=1.0):
    """Heatmaps (N, K, 64, 64) with a Gaussian at each point (N, K, 2), in pixels of the map."""
    axis = torch.arange(64, dtype=torch.float64)
    x, y = (((axis - points[..., i, None]) / sigma).square() for i in (0, 1))
    return peak * torch.exp(-(y[..., None] + x[..., None, :]) / 2)


def read(maps, **settings):
    """FAN's points in a picture of 256 px, from maps in place of its network."""
    return FaceAlignment(lambda x: [maps], **settings)(torch.rand(1, 3, 256, 256, dtype=torch.float64))


def somewhere(seed=0):
    return 10 + 40 * torch.rand(1, 68, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("peak", [1.0, 0.6, 0.3, 0.1])
@pytest.mark.parametrize("whole_maps", [False, True])
def test_faint_points_are_where_they_are_and_move_as_far_as_they_move(peak, whole_maps):
    points = somewhere()
    found = read(gaussians(points, peak), whole_maps=whole_maps)
    assert (found - (4 * points + 1.5)).norm(dim=-1).max() < 0.1
    moved = read(gaussians(points + torch.tensor([1.0, 0.0]), peak), whole_maps=whole_maps)
    torch.testing.assert_close(
        (moved - found) / 4, torch.tensor([1.0, 0.0]).expand(1, 68, 2).double(), atol=0.02, rtol=0
    )


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
def test_jacobians_of_points_are_those_of_the_points_between_pixels_too(sigma):
    """Whole steps of a pixel say nothing of a slope: a reading that leaps from pixel to pixel passes them."""
    points = somewhere(1)

    def found(shift):
        return read(gaussians(points + shift[:, None], 0.3, sigma)).flatten(1) / 4

    J = Jacobian(found, torch.zeros(1, 2, dtype=torch.float64))
    slopes, adjoint = J.matmat(torch.eye(2).double()), J.adjoint(torch.eye(136).double())
    torch.testing.assert_close(adjoint.T, slopes)
    torch.testing.assert_close(slopes, torch.eye(2).repeat(68, 1).double(), atol=0.03, rtol=0)


def test_noise_all_over_a_map_leaves_points_where_they_are():
    """Off the face FAN's maps are near 0 on either side of it; summed up it would outweigh a faint point."""
    points, draw = somewhere(2), torch.Generator().manual_seed(3)
    noise = 0.01 * torch.randn(1, 68, 64, 64, generator=draw, dtype=torch.float64)
    for background in (noise, noise - 0.02, noise + 0.01):
        found = read(gaussians(points, 0.3) + background)
        assert (found - (4 * points + 1.5)).norm(dim=-1).max() < 2


def test_maps_without_a_point_are_finite():
    assert read(torch.full((1, 68, 64, 64), -0.1)).isfinite().all()


def test_whole_maps_are_read_as_published():
    """Li et al. 2022: preds / preds.sum, then the mean index under it, on maps that aren't clean."""
    maps = gaussians(somewhere(4), 0.5) + 0.003 * torch.rand(1, 68, 64, 64, dtype=torch.float64)
    preds = maps / maps.sum([2, 3], keepdim=True)
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    published = torch.stack([(columns * preds).sum((2, 3)), (rows * preds).sum((2, 3))], -1) / 64 * 256
    # Theirs is the place of a pixel's corner, ours of its centre: 1.5 px of 256 apart, whatever the map.
    torch.testing.assert_close(read(maps, whole_maps=True), published + 1.5)
    assert (read(maps) - published - 1.5).abs().max() > 10


def test_heatmaps_are_probabilities(faces):
    maps = gaussians(somewhere(5), 0.4) - 0.01
    image = torch.rand(1, 3, 256, 256)
    for network in (FaceAlignment(lambda x: [maps]), FaceAlignment(lambda x: [maps], whole_maps=True), faces.landmarks):
        sums = network.heatmaps(image).sum((2, 3))
        torch.testing.assert_close(sums, torch.ones_like(sums))


def test_sentences(tmp_path):
    with pytest.raises(IceError, match=r"a face parser .*79999_iter.pth.* at .*p\.pth, got none: check the path"):
        load_pretrained(tmp_path / "p.pth", PARSER, make_parser)
    (tmp_path / "p.pth").write_bytes(b"x" * 100)
    with pytest.raises(IceError, match=r"got a file that begins with b"):
        load_pretrained(tmp_path / "p.pth", PARSER, make_parser)
    torch.save({"a": torch.zeros(1)}, tmp_path / "p.pth")
    with pytest.raises(IceError, match=r"a face parser .* got no key 'conv_out.conv_out.weight'"):
        load_pretrained(tmp_path / "p.pth", PARSER, make_parser)
    state = BiSeNet().state_dict()
    first = state.pop("cp.resnet.conv1.weight")
    torch.save(state, tmp_path / "p.pth")
    with pytest.raises(IceError, match=re.escape("a file without 'cp.resnet.conv1.weight' (1 such keys)")):
        load_pretrained(tmp_path / "p.pth", PARSER, make_parser)
    torch.save(state | {"cp.resnet.conv1.weight": first[:32]}, tmp_path / "p.pth")
    with pytest.raises(IceError, match=r"cp.resnet.conv1.weight of shape \(32, 3, 7, 7\) instead of \(64, 3, 7, 7\)"):
        load_pretrained(tmp_path / "p.pth", PARSER, make_parser)
    with pytest.raises(IceError, match=r"a landmark network .* got no path"):
        pretrained_faces(tmp_path / "p.pth", None)


def test_discovery_runs_end_to_end_on_files_of_the_true_formats(compose, tmp_path):
    fan = pytest.importorskip("face_alignment.models").FAN
    torch.manual_seed(0)
    torch.save(randomised(BiSeNet()).state_dict(), tmp_path / "parser.pth")
    torch.save(randomised(fan(1)).state_dict(), tmp_path / "landmarks.pth.tar")
    torch.save(randomised(IResNet((1, 1, 1, 1))).state_dict(), tmp_path / "identity.pth")
    files = [f"faces.parser={tmp_path}/parser.pth", f"faces.landmarks={tmp_path}/landmarks.pth.tar"]
    files.append(f"faces.identity={tmp_path}/identity.pth")
    config = {"img_resolution": 256, "z_dim": 3, "w_dim": 16, "channel_base": 1024, "channel_max": 16}
    save_network(tmp_path / "generator.safetensors", Generator(**config), "generator", config)
    files.append(f"generator.checkpoint={tmp_path}/generator.safetensors")
    settings = ("criterion=identity", "space=z", "latents.count=1", "faces=pretrained", "solver.rows=8")
    found = run(compose(*settings, *files))
    assert found.metrics["rank"] >= 1
    assert found.subspace.directions.isfinite().all()
    paths = [tmp_path / name for name in ("parser.pth", "landmarks.pth.tar", "identity.pth")]
    faces = pretrained_faces(*paths)
    published = instantiate(compose("criterion=paper/eye_shape", "faces=pretrained", *files[:2]).faces)
    assert (faces.landmarks.whole_maps, published.landmarks.whole_maps) == (False, True)
    for network in (faces.parser, faces.landmarks, faces.identity):
        basis = torch.rand(2, 3 * 256 * 256, generator=torch.Generator().manual_seed(3))

        def features(v, network=network, basis=basis):
            image = 0.5 + 0.01 * (v @ basis).view(-1, 3, 256, 256)
            return network(image).flatten(1)[:, :64:32]

        J = Jacobian(features, torch.zeros(1, 2))
        forward, backward = J.matmat(torch.eye(2)), J.adjoint(torch.eye(len(J.matmat(torch.eye(2)))))
        assert forward.abs().max() > 0
        torch.testing.assert_close(forward, backward.T, rtol=1e-3, atol=1e-3 * float(forward.abs().max()))
