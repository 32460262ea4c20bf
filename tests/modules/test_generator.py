"""A user's own nn.Module as the generator: what is learnt of it, what is refused, and runs from search to verdict."""

import copy
import re

import pytest
import torch
from hydra import compose as composed
from hydra import initialize_config_module
from torch import nn
from toys import Toy

from ice_lightning.checkpoints.generators import generator_of
from ice_lightning.checks import IceError
from ice_lightning.modules.generator import GeneratorAdapter
from ice_lightning.run import main, run
from ice_lightning.tasks.subspace_cache import place_of


class Plain(nn.Module):
    """The least that a generator needs: one space, no layers."""

    spaces = ("w",)

    def __init__(self):
        super().__init__()
        self.inner = Toy().inner

    def sample(self, n, seed=0):
        return self.inner.convert(self.inner.sample(n, seed), "z", "w")

    def forward(self, u, space):
        return self.inner(u, space)


NONE = "explain.controls={subspaces: 0, weights: false, unrestricted: false}"


def test_what_is_learnt_of_a_module():
    own, plain = GeneratorAdapter(Toy(), "toy"), GeneratorAdapter(Plain(), "plain")
    assert (own.resolution, own.spaces, own.name) == (128, ("z", "s"), "toy")
    assert (own.dim("z"), own.dim("s")) == (48, 192)
    assert own.coordinates("s", "64px-").tolist() == list(range(96, 192))
    assert torch.equal(own.coordinates("s", "1"), own.coordinates("s", "fine"))
    assert plain.widths("w") == [plain.dim("w")] == [96]
    torch.testing.assert_close(own(own.people(2, 5, "s"), "s"), Toy()(Toy().sample(2, 5), "z"))
    torch.testing.assert_close(own.draw(own.people(2, 5, "s").chunk(2, 1), "s"), own(own.sample(2, 5), "z"))


def test_the_fingerprint_follows_the_weights():
    assert GeneratorAdapter(Toy(), "a").fingerprint == GeneratorAdapter(Toy(), "b").fingerprint
    assert GeneratorAdapter(Toy(), "a").fingerprint != GeneratorAdapter(Toy(0.01), "a").fingerprint


def broken(**parts):
    """A Toy with some of its parts replaced; None takes one away."""
    toy = Toy()
    for name, part in parts.items():
        setattr(toy, name, part)
    return toy


SENTENCES = {
    "an nn.Module, got dict": dict,
    r"with `spaces`, got Linear without": lambda: nn.Linear(1, 1),
    r"\(2, d\) from sample\(2, 0\), got \(96,\)": lambda: broken(sample=lambda n, seed=0: torch.zeros(96)),
    "people who depend on seed": lambda: broken(sample=lambda n, seed=0: torch.randn(n, 96)),
    r"displayed in 0\.\.1, got values from .* to 9": lambda: broken(forward=lambda u, space: Toy()(u, space) + 8.5),
    r"square images .* got \(2, 3, 128, 64\)": lambda: broken(forward=lambda u, space: Toy()(u, space)[..., :64]),
    "the same picture from z and s": lambda: broken(convert=lambda u, src, dst: 2 * Toy().convert(u, src, dst)),
    "widths and resolutions of layers of 192 coordinates in s, got widths of 48": lambda: broken(
        widths=lambda space: [48]
    ),
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_what_breaks_the_contract_is_told(sentence):
    with pytest.raises(IceError, match=sentence):
        GeneratorAdapter(SENTENCES[sentence](), "broken")


def test_layers_of_a_module_without_any_are_refused():
    with pytest.raises(IceError, match=r"no layers, as this generator has none, got layers=32px- in w: drop layers"):
        GeneratorAdapter(Plain(), "plain").coordinates("w", "32px-")


OWN = ("generator=own", "generator._target_=toys.Toy", "logger=none", "latents.count=2")
SMALL = ("criterion.size=32", "criterion.activate.color.term.regions=[skin]", "criterion.suppress=null", "solver=exact")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    settings = [*OWN, *SMALL, "space=s", "criterion.layers=64px-", f"run_dir={folder}"]
    with initialize_config_module("ice_lightning.conf", version_base="1.3"):
        return run(composed("config", settings)).subspace, folder


def test_a_search_moves_the_layers_that_it_may(found):
    subspace, _ = found
    half = len(subspace.directions) // 2
    assert subspace.directions[:half].abs().max() == 0 < subspace.directions[half:].abs().max()
    assert subspace.provenance["generator"] == "toys.Toy"


def test_films_and_verdicts_go_on_with_it(found, compose, tmp_path):
    _, folder = found
    few = ("traverse.people=1", "traverse.directions=1", "traverse.frames=4")
    films = run(compose("task=traverse", *OWN, *few, f"subspace={folder}", f"run_dir={tmp_path}/films"))
    assert (films.folder / "sheet.png").is_file()
    few = (
        "explain.people=2",
        NONE,
        "explain.directions=2",
        "classifier=smiling",
        "space=s",
    )
    explained = run(compose("task=explain", *OWN, *few, f"subspace={folder}", f"run_dir={tmp_path}/explained"))
    assert explained.metrics["measured"]["flip_rate"]["of"] == 2


def test_a_shared_file_says_no_code_to_run(found):
    with pytest.raises(IceError, match=r"a subspace of a checkpoint, got one of toys\.Toy"):
        generator_of(found[0])


def test_another_module_than_the_subspace_was_found_on_is_refused(found, monkeypatch, capsys, tmp_path):
    other = [*OWN, "+generator.shift=0.01", "task=traverse", f"subspace={found[1]}", f"hydra.run.dir={tmp_path}"]
    monkeypatch.setattr("sys.argv", ["run", *other])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert re.search("a subspace of this generator", capsys.readouterr().err)


def test_other_face_models_lead_to_another_subspace(compose, generator, faces):
    cfg, other = compose(), copy.deepcopy(faces)
    assert place_of(cfg, generator, faces) == place_of(cfg, generator, copy.deepcopy(faces))
    next(other.landmarks.parameters()).data[0] += 0.1
    assert place_of(cfg, generator, faces) != place_of(cfg, generator, other)


def test_a_size_beyond_the_images_is_read_as_they_are(compose, faces):
    from ice_lightning.tasks.build import build_criterion

    criterion = build_criterion(compose("criterion=lip_color").criterion, faces, 64)
    sizes = {each.term.size for each in [*criterion.activate.values(), *criterion.suppress.values()]}
    assert sizes == {None, 64}
