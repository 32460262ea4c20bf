"""Pictures to latents and on to the other tasks."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ice_lightning.checks import IceError
from ice_lightning.faces.embedded import perceptual
from ice_lightning.inversion import distance, invert, read_pictures
from ice_lightning.latents import LatentDataModule, read_latents
from ice_lightning.run import run
from ice_lightning.synthetic import factors_from_z, render


@pytest.fixture
def pictures(generator, tmp_path):
    """Two renders that the generator has never drawn, one of them wider than high."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    images = render(factors_from_z(generator.sample(2, 77)), 128).image
    for name, image in zip("ab", images, strict=True):
        pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
        pixels = np.pad(pixels, ((0, 0), (20, 20), (0, 0))) if name == "b" else pixels
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder, images


def test_pictures_are_read_by_their_middle_square(pictures):
    folder, images = pictures
    names, read = read_pictures(folder, 128)
    assert names == ["a", "b"]
    torch.testing.assert_close(read, images.float(), atol=0.51 / 255, rtol=0)


def test_the_distance_is_0_to_oneself_and_grows():
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features = perceptual()
    near, far = (distance(x, (x + step).clamp(0, 1), features) for step in (0.02, 0.2))
    assert torch.equal(distance(x, x, features), torch.zeros(2))
    assert (near > 0).all()
    assert (near < far).all()


def test_optimising_comes_closer_than_the_nearest_of_a_population():
    """A linear generator of images: what it draws is found."""
    draw = torch.Generator().manual_seed(0)
    basis = torch.randn(4, 3 * 16 * 16, generator=draw) / 8

    def image(u):
        return (u @ basis).view(-1, 3, 16, 16) * 0.2 + 0.5

    population, truth = torch.randn(32, 4, generator=draw), torch.randn(3, 4, generator=draw)
    found = invert(image, image(truth).clamp(0, 1), population, lambda x: [x], steps=300, near=0.0)
    torch.testing.assert_close(found.u, truth, atol=0.1, rtol=0)
    assert (found.psnr > 35).all()


def linear(seed):
    """A linear generator of images, people of its population, and images of others."""
    draw = torch.Generator().manual_seed(seed)
    basis = torch.randn(4, 3 * 16 * 16, generator=draw) / 8

    def image(u):
        return (u @ basis).view(-1, 3, 16, 16) * 0.2 + 0.5

    population = torch.randn(32, 4, generator=draw)
    return image, population, image(torch.randn(3, 4, generator=draw)).clamp(0, 1)


def test_who_is_far_from_the_population_costs():
    image, population, target = linear(0)
    near, free = (invert(image, target, population, lambda x: [x], steps=200, near=each) for each in (1.0, 0.0))
    centre, width = population.mean(0), population.std(0)
    assert (((near.u - centre) / width).norm(dim=1) < 0.9 * ((free.u - centre) / width).norm(dim=1)).all()


def test_steps_become_shorter_and_end():
    """Adam's steps are as long as its rate at first; a cosine brings them to 0 (Loshchilov & Hutter 2017)."""
    image, population, target = linear(1)
    losses = []
    invert(image, target, population, lambda x: [x], steps=60, rate=0.5, on_step=lambda step, loss: losses.append(loss))
    changes = torch.tensor(losses).diff().abs()
    assert changes[-3:].max() < 1e-3 * changes[:10].max()


def test_inverted_people_are_explained_and_discovered_with(compose, pictures, generator, tmp_path):
    folder, _ = pictures
    run_dir = tmp_path / "inverted"
    result = run(compose("task=invert", f"image={folder}", "invert.steps=12", f"run_dir={run_dir}"))
    assert set(result.metrics["psnr"]) == {"a", "b"}
    assert result.metrics["psnr_mean"] > 15
    assert (run_dir / "inversion.png").exists()
    file = run_dir / "latents.safetensors"
    saved = read_latents(file)
    assert saved.u.shape == (2, 1408)
    assert (saved.space, saved.generator_sha256, saved.names) == ("s", generator.fingerprint, ("a", "b"))
    data = LatentDataModule(generator, "s", count=9, file=str(file))
    assert torch.equal(data.latents, saved.u)
    with pytest.raises(IceError, match=r"latents in w of this generator .*, got latents in s"):
        LatentDataModule(generator, "w", count=9, file=str(file))


def test_bad_pictures_are_told(compose, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(IceError, match=r"pictures \(.*\) at .*empty, got none"):
        read_pictures(tmp_path / "empty", 64)
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(IceError, match=r"a picture at .*a\.png, got another file"):
        read_pictures(tmp_path, 64)
    with pytest.raises(IceError, match=r"a picture or a folder of pictures .*, got none: set image=PATH"):
        run(compose("task=invert"))
    save_file({"v": torch.zeros(1)}, tmp_path / "l.safetensors")
    with pytest.raises(IceError, match=r"latents at .*, got .*: write them by task=invert"):
        read_latents(tmp_path / "l.safetensors")
