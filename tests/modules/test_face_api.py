"""face-api's networks: files of their true names and shapes, and forwards in TensorFlow's terms by numpy."""

import numpy as np
import pytest
import torch
import writers
from torch.func import jvp

from ice_lightning.checkpoints import convert_face_api, read_face_api
from ice_lightning.checks import IceError
from ice_lightning.classifiers import load_classifier
from ice_lightning.criterions import LandmarkHeatmaps
from ice_lightning.explanation.probe import check_explainable
from ice_lightning.jacobians.operators import Jacobian
from ice_lightning.modules.face_api import AgeGender, Conv, Expression, LandmarkNet68
from ice_lightning.modules.face_recognition import Recognition, SquaredIdentity, face_square

MEAN = np.array([122.782, 117.001, 104.298])
NETWORKS = {
    "landmarks": ("landmarks", LandmarkNet68),
    "expression": ("expression", Expression),
    "age": ("age_gender", lambda: AgeGender("age")),
    "gender": ("age_gender", lambda: AgeGender("gender")),
    "recognition": ("recognition", Recognition),
}


# TensorFlow, slowly: images are (H, W, C), kernels (h, w, in, out)


def padding(side, kernel, stride):
    """What "same" puts before and behind: as little as lets every stride begin a window, the smaller half before."""
    out = -(-side // stride)
    total = max((out - 1) * stride + kernel - side, 0)
    return out, total // 2, total - total // 2


def windows(x, kernel, stride, same, fill=0.0):
    """For each place in the kernel, the pixels that come to lie under it."""
    rows, columns = ((padding(n, kernel, stride) if same else ((n - kernel) // stride + 1, 0, 0)) for n in x.shape[:2])
    x = np.pad(x, (rows[1:], columns[1:], (0, 0)), constant_values=fill)
    for i in range(kernel):
        for j in range(kernel):
            yield (
                i,
                j,
                x[i : i + rows[0] * stride : stride, j : j + columns[0] * stride : stride][: rows[0], : columns[0]],
            )


def conv(x, w, stride=1, same=True):
    return sum(part @ w[i, j] for i, j, part in windows(x, len(w), stride, same))


def depthwise(x, w, stride=1):
    return sum(part * w[i, j, :, 0] for i, j, part in windows(x, len(w), stride, True))


def relu(x):
    return np.maximum(x, 0)


def separable(t, name, x, stride=1):
    y = depthwise(x, t[f"{name}/depthwise_filter"], stride) @ t[f"{name}/pointwise_filter"][0, 0]
    return y + t[f"{name}/bias"]


def plain(t, name, x, stride=1):
    return conv(x, t[f"{name}/filters"], stride) + t[f"{name}/bias"]


def dense_by_hand(t, x):
    for i in range(4):
        name = f"dense{i}"
        out1 = relu((plain if i == 0 else separable)(t, f"{name}/conv0", x, 2))
        out2 = separable(t, f"{name}/conv1", out1)
        out3 = separable(t, f"{name}/conv2", relu(out1 + out2))
        out4 = separable(t, f"{name}/conv3", relu(out1 + out2 + out3))
        x = relu(out1 + out2 + out3 + out4)
    assert x.shape == (7, 7, 256)
    return x.mean((0, 1)) @ t["fc/weights"] + t["fc/bias"]


def xception_by_hand(t, x, head):
    def reduction(name, x, rectified=True):
        y = separable(t, f"{name}/separable_conv0", relu(x) if rectified else x)
        y = separable(t, f"{name}/separable_conv1", relu(y))
        y = np.max([part for _, _, part in windows(y, 3, 2, True, -np.inf)], 0)
        return y + plain(t, f"{name}/expansion_conv", x, 2)

    x = relu(plain(t, "entry_flow/conv_in", x, 2))
    x = reduction("entry_flow/reduction_block_1", reduction("entry_flow/reduction_block_0", x, False))
    for i in range(2):
        y = x
        for j in range(3):
            y = separable(t, f"middle_flow/main_block_{i}/separable_conv{j}", relu(y))
        x = x + y
    x = relu(separable(t, "exit_flow/separable_conv", reduction("exit_flow/reduction_block", x)))
    assert x.shape == (7, 7, 512)
    return x.mean((0, 1)) @ t[f"fc/{head}/weights"] + t[f"fc/{head}/bias"]


def resnet_by_hand(t, x):
    def scaled(name, x, stride=1, same=True):
        y = conv(x, t[f"{name}/conv/filters"], stride, same) + t[f"{name}/conv/bias"]
        return y * t[f"{name}/scale/weights"] + t[f"{name}/scale/biases"]

    def residual(name, x):
        return relu(x + scaled(f"{name}/conv2", relu(scaled(f"{name}/conv1", x))))

    def down(name, x):
        y = scaled(f"{name}/conv2", relu(scaled(f"{name}/conv1", x, 2, False)))
        pooled = sum(part for _, _, part in windows(x, 2, 2, False)) / 4
        both = np.zeros((*pooled.shape[:2], y.shape[2]))
        both[: y.shape[0], : y.shape[1]] += y
        both[:, :, : pooled.shape[2]] += pooled
        return relu(both)

    x = relu(scaled("conv32_down", x, 2, False))
    x = np.max([part for _, _, part in windows(x, 3, 2, False)], 0)
    assert x.shape == (35, 35, 32)
    names = "32_1 32_2 32_3 64_down 64_1 64_2 64_3 128_down 128_1 128_2 256_down 256_1 256_2 256_down_out"
    for name in names.split():
        x = (down if "down" in name else residual)(f"conv{name}", x)
    assert x.shape == (2, 2, 256)
    return x.mean((0, 1)) @ t["fc"]


def by_hand(which, t, image):
    """An output of face-api for an image (H, W, 3) in 0..255, of the network's own side."""
    x, t = (image - MEAN) / 255, {name: each.astype(np.float64) for name, each in t.items()}
    if which in ("age", "gender"):
        return xception_by_hand(t, x, which)
    return resnet_by_hand(t, x) if which == "recognition" else dense_by_hand(t, x)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A manifest of each network, of random weights."""
    folder = tmp_path_factory.mktemp("face_api")
    for name in {name for name, _ in NETWORKS.values()}:
        writers.manifest(folder / f"{name}.json", writers.face_api(name))
    return folder


def network(files, which):
    name, make = NETWORKS[which]
    net = make()
    net.load_state_dict(read_face_api(files / f"{name}.json", name))
    return net.double().eval().requires_grad_(False)


def picture(side, count=1):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


# Facts


@pytest.mark.parametrize(
    "which,numbers,tensors",
    [
        ("landmarks", 356_840, 49),
        ("expression", 323_687, 49),
        ("age", 421_731, 51),
        ("recognition", 5_614_592, 117),
    ],
)
def test_the_published_sizes(which, numbers, tensors):
    name, make = NETWORKS[which]
    state = make().state_dict()
    assert (sum(each.numel() for each in state.values()), len(state)) == (numbers, tensors)
    assert len(writers.face_api_shapes(name)) == tensors


@pytest.mark.parametrize("side", [4, 5, 6, 7])
@pytest.mark.parametrize("kernel,stride", [(3, 1), (3, 2), (1, 2)])
def test_padding_same_is_tensorflows(side, kernel, stride):
    # https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2: what is odd goes below and to the right.
    total = max(kernel - stride, 0) if side % stride == 0 else max(kernel - side % stride, 0)
    before, out = total // 2, -(-side // stride)
    layer, x = Conv(2, 3, kernel, stride).double().requires_grad_(False), picture(side)[:, :2]
    found = layer(x)
    assert found.shape == (1, 3, out, out)
    for o in range(3):
        for i in range(out):
            for j in range(out):
                expected = float(layer.bias[o])
                for c in range(2):
                    for k in range(kernel):
                        for m in range(kernel):
                            row, column = i * stride + k - before, j * stride + m - before
                            if 0 <= row < side and 0 <= column < side:
                                expected += float(layer.weight[o, c, k, m] * x[0, c, row, column])
                assert abs(float(found[0, o, i, j]) - expected) < 1e-12


@pytest.mark.parametrize("which", NETWORKS)
def test_a_network_equals_its_forward_by_hand(files, which):
    net = network(files, which)
    image = picture(net.resolution)
    found = net(image)[0]
    if which == "landmarks":
        found = (found.flatten() + 0.5) / 112
    t = writers.face_api(NETWORKS[which][0])
    expected = by_hand(which, t, image[0].permute(1, 2, 0).numpy() * 255)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("which", NETWORKS)
def test_forward_mode_equals_finite_differences_and_the_adjoint(files, which):
    net, image = network(files, which), picture(64)
    direction = torch.randn(image.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    _, tangent = jvp(net, (image,), (direction,))
    h = 1e-7  # small enough that hardly any unit changes its side
    finite = (net(image + h * direction) - net(image - h * direction)) / (2 * h)
    torch.testing.assert_close(tangent, finite, rtol=1e-4, atol=1e-4 * float(finite.abs().max()))

    def features(v):
        return net(image + (v @ direction.flatten()[None]).view(-1, *image.shape[1:])).flatten(1)

    J = Jacobian(features, torch.zeros(1, 1, dtype=torch.float64))
    forward = J.matmat(torch.ones(1, 1, dtype=torch.float64))
    torch.testing.assert_close(forward[:, 0], tangent.flatten(), rtol=1e-9, atol=1e-9 * float(tangent.abs().max()))
    backward = J.adjoint(forward)
    torch.testing.assert_close(backward.flatten(), forward.square().sum()[None], rtol=1e-9, atol=1e-12)


# Landmarks


def test_landmarks_lie_where_the_canvas_of_face_api_has_them():
    net = LandmarkNet68().eval().requires_grad_(False)
    net.fc.weight.zero_()
    net.fc.bias.copy_(torch.tensor([0.25, 0.5] * 68))
    points = net(torch.rand(1, 3, 64, 64))
    assert points.shape == (1, 68, 2)
    # A quarter of a canvas of 64 px is at 16, the left edge of pixel 16, half a pixel before its centre.
    assert torch.equal(points[0, 0], torch.tensor([15.5, 31.5]))


@pytest.mark.parametrize("which,shift", [("landmarks", [12.0, 24.0]), ("expression", 0.0), ("age", 0.0)])
def test_a_face_crop_is_seen_as_if_it_were_the_picture(files, which, shift):
    net, image = network(files, which), picture(96)
    whole = net(image[:, :, 24:72, 12:60])
    net.crop = (12 / 96, 24 / 96, 60 / 96, 72 / 96)
    torch.testing.assert_close(net(image), whole + torch.tensor(shift))
    net.crop = (0, 0, 1, 0.5)
    with pytest.raises(IceError, match="a square face crop"):
        net(image)


def test_heatmaps_of_a_regression_are_a_sentence():
    with pytest.raises(IceError, match=r"with heatmaps, for LandmarkHeatmaps, got LandmarkNet68: take the term Landm"):
        LandmarkHeatmaps("48-67", LandmarkNet68())


# Identity


def test_the_square_is_dlibs():
    points = torch.zeros(1, 68, 2)
    points[:, 36:42], points[:, 42:48], points[:, 48:68] = (
        torch.tensor(at) for at in ((30.0, 40.0), (60.0, 40.0), (45.0, 76.0))
    )
    corner, side = face_square(points)
    # Both eyes are 39 from the mouth, their mean with it at (45, 52).
    torch.testing.assert_close(side, torch.tensor([39 / 0.45]))
    torch.testing.assert_close(corner[0], torch.tensor([45 - 0.5 * 39 / 0.45, 52 - 0.43 * 39 / 0.45]))


def test_identity_is_a_unit_vector_of_the_face_in_its_square(files):
    # Points whose square is the right lower quarter of a picture of twice the network's side.
    points = torch.full((1, 68, 2), 150 + 150 * 0.5 - 0.5, dtype=torch.float64)
    points[:, 36:48, 1], points[:, 48:68, 1] = (150 + 150 * (0.43 + part) - 0.5 for part in (-0.15, 0.3))
    net, image = network(files, "recognition"), picture(300)
    identity = SquaredIdentity(net, lambda x: points, resolution=300)
    torch.testing.assert_close(identity.crop(image), image[:, :, 150:, 150:])
    found, alone = identity(image), net(image[:, :, 150:, 150:])
    torch.testing.assert_close(found.norm(dim=1), torch.ones(1, dtype=torch.float64))
    torch.testing.assert_close(found, alone / alone.norm())
    assert abs(float(alone.norm()) - 1) > 1e-3


# Classifiers


def test_expression_and_age_are_classifiers_of_ones_own(files, tmp_path):
    for name in ("expression", "age_gender"):
        convert_face_api(files / f"{name}.json", tmp_path / f"{name}.safetensors")
    image = picture(64, 4).float()
    happy = load_classifier(tmp_path / "expression.safetensors", Expression(), kind="multiclass", target=1)
    logits = network(files, "expression").float()(image)
    torch.testing.assert_close(happy(image), logits[:, 1] - logits[:, [0, 2, 3, 4, 5, 6]].amax(1))
    check_explainable(happy, image)
    years = load_classifier(tmp_path / "age_gender.safetensors", AgeGender("age"), kind="regression", target=40)
    torch.testing.assert_close(years(image), network(files, "age").float()(image)[:, 0] - 40)
    check_explainable(years, image)
    with pytest.raises(IceError, match="output of AgeGender out of age, gender"):
        AgeGender("years")
    with pytest.raises(IceError, match=r"weights for AgeGender at .*expression.safetensors, got one without"):
        load_classifier(tmp_path / "expression.safetensors", AgeGender(), kind="multiclass", target=0)
