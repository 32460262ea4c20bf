"""A plain Python call for every task: no run folder, no file."""

import copy
import inspect
import json
import logging
import re
import warnings
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from matplotlib.figure import Figure

import ice_lightning
from ice_lightning import at, discover, explain, inversion, invert, judge, load_subspace, traverse
from ice_lightning.api import arguments
from ice_lightning.checks import IceError
from ice_lightning.counterfactuals import Gradient
from ice_lightning.criterions import Activate, Criterion, RegionColor
from ice_lightning.explanation import ControlSettings, load_explained
from ice_lightning.run import run
from ice_lightning.solvers import FullJacobian
from ice_lightning.subspace import Subspace

CONTROLS = ControlSettings(subspaces=10, people=2, weights=False, unrestricted=False)


@pytest.fixture(autouse=True)
def in_small(few_pairs, monkeypatch):
    """Inversions draw 8 people instead of 128 to begin with the nearest."""
    monkeypatch.setattr(inversion, "STARTS", 8)


@pytest.fixture(scope="module")
def subspace(generator):
    return discover(generator, "hair_color", 1)


@pytest.fixture(scope="module")
def explained(generator, subspace, few_read):
    with few_read():
        return explain(generator, "smiling_biased", subspace, 2, controls=CONTROLS)


def test_a_discovery_is_that_of_the_command_line(generator, subspace, compose):
    given = ("criterion=hair_color", "latents.count=1", "geometry=population", "local=false")
    theirs = run(compose(*given)).subspace
    torch.testing.assert_close(subspace.directions, theirs.directions)
    ours, other = (dict(each.provenance["config"]) for each in (subspace, theirs))
    for name in ("run_dir", "trainer", "local"):
        ours.pop(name), other.pop(name)
    assert ours == other


def test_an_explanation_is_that_of_the_command_line(generator, subspace, explained, compose, tmp_path):
    subspace.save(tmp_path / "subspace.safetensors")
    some = "explain.controls={subspaces: 10, people: 2, weights: false, unrestricted: false}"
    given = ("task=explain", "classifier=smiling_biased", f"subspace={tmp_path}", "explain.people=2", some)
    found = run(compose(*given, "explain.oracles=[]", f"explain.kept_controls={tmp_path}/kept"))
    metrics = found.metrics
    assert judge([explained]).to_json() == judge([load_explained(found.folder)]).to_json()
    assert metrics["flip_rate"] == explained.summary.flips.rate
    assert metrics["effort"] == pytest.approx(explained.summary.effort)
    assert metrics["random"] == json.loads(json.dumps(explained.summary.to_json()["random"]))
    before, after = explained.counterfactuals(2)
    assert before.shape == after.shape
    assert len(before) == min(2, round(2 * metrics["flip_rate"]))


def test_a_verdict_has_a_sentence_a_table_and_a_figure(generator, explained):
    found = judge([explained, explained])
    assert found.sentence.startswith("smiling_biased")
    assert found.table().count("\n") == 3
    assert isinstance(found.figure(), Figure)
    assert "<img" in found._repr_html_()
    assert explained.sentence in explained._repr_html_()


def test_outcomes_in_random_subspaces_are_taken_from_another(generator, subspace, explained):
    again = explain(generator, "smiling_biased", subspace, 2, controls=CONTROLS, alike=explained)
    torch.testing.assert_close(
        again.explained.rows.random.change, explained.explained.rows.random.change, equal_nan=True
    )
    with pytest.raises(IceError, match="expected an explanation of the same classifier"):
        explain(generator, "smiling", subspace, 2, controls=CONTROLS, alike=explained)


def test_terms_and_functions_of_ones_own(generator, faces):
    own = Criterion("nose", "", {"color": Activate(RegionColor(["nose"]))}, activate_ratio=0.1)
    S = discover(generator, own, 1, solver=FullJacobian(memory="2GB"), space="w", geometry="euclidean", faces=faces)
    config = S.provenance["config"]
    assert config["criterion"] == {"name": "nose"}
    assert config["solver"] == {"_target_": "ice_lightning.solvers.FullJacobian", "chunk": None, "memory": "2GB"}
    assert config["faces"] == {"_target_": "ice_lightning.modules.faces.Faces"}
    nothing = ControlSettings(subspaces=0, weights=False, unrestricted=False)
    E = explain(generator, lambda x: x[:, 0].mean((1, 2)) - 0.5, S, 2, name="red", controls=nothing, criterion=own)
    assert E.explained.classifier == "red"
    with pytest.raises(
        IceError, match="the criterion of the subspace, got none: name the criterion that the search took, criterion="
    ):
        explain(generator, "smiling", S, 2)


def test_people_have_directions_of_their_own_also_from_a_file(generator, subspace, tmp_path):
    assert type(subspace.subspace) is Subspace and subspace.subspace.charges is subspace.charges
    u = generator.people(1, 5, "s")
    found = subspace.at(u, directions=2)
    assert found.directions.shape == (1, 1408, 2) and found.local.own.all() and found.offered[0, 0]
    assert float(found.local.agreement[0, 0]) > 0.9
    saved = load_subspace(subspace.save(tmp_path / "subspace.safetensors"))
    again = at(generator, saved, u.double().requires_grad_(), directions=2)
    near = torch.nn.functional.cosine_similarity(found.directions, again.directions, dim=1)
    assert (near > 0.98).all()
    assert torch.equal(again.u, u) and again.held().hold and not again.hold
    torch.testing.assert_close(again.edit(u, 0, 2.0) - u, 2 * again.directions[:, :, 0])


def test_a_traversal_is_everyones_own_where_the_subspace_knows_enough(generator, subspace, caplog):
    assert traverse(generator, subspace, 1).get_suptitle() == "hair color: direction 0, everyone's own"
    assert traverse(generator, subspace, 1, local=False).get_suptitle() == "hair color: direction 0"
    assert not caplog.messages
    plain = replace(subspace.subspace, charges=None)
    assert traverse(generator, plain, 1).get_suptitle() == "hair color: direction 0"
    (said,) = caplog.messages
    assert said.startswith("everyone moves along the average's directions: expected a subspace with what its search")
    for asked in ({"local": True}, {"held": True}):
        with pytest.raises(IceError, match=r"a subspace with what its search has left .*, got one without: find the"):
            traverse(generator, plain, 1, **asked)
    with pytest.raises(IceError, match="own directions, which moves are held along, got local=false"):
        traverse(generator, subspace, 1, local=False, held=True)


def test_people_are_moved_and_pictures_found(generator, subspace):
    assert isinstance(traverse(generator, subspace, 1, local=False), Figure)
    image = generator(generator.people(1, 7, "s"), "s").clamp(0, 1)
    assert invert(generator, image, steps=2).u.shape == (1, 1408)


def test_wrong_input_is_a_sentence(generator, explained, subspace):
    with pytest.raises(IceError, match=r"criterion out of .*did you mean 'skin_color'"):
        discover(generator, "skin_colour")
    with pytest.raises(IceError, match="a subspace of this generator"):
        traverse(generator, Subspace(subspace.directions, subspace.eigenvalues, "s", {"generator_sha256": "0" * 64}))
    with pytest.raises(IceError, match="explanations to judge of at least 1"):
        judge([])


class Changing(torch.nn.Module):
    """Whether the light is above a threshold."""

    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, image):
        return 9 * (image.mean((1, 2, 3)) - self.level)


def test_a_classifier_that_has_changed_is_told_apart(generator, subspace):
    network, few = Changing(), replace(CONTROLS, subspaces=2)
    before = explain(generator, network, subspace, 2, controls=few)
    with torch.no_grad():
        network.level += 0.1
    with pytest.raises(IceError, match="got other scores of the same people: drop alike"):
        explain(generator, network, subspace, 2, controls=few, alike=before)


def test_functions_of_one_name_are_two_classifiers(generator, subspace):
    few = ControlSettings(subspaces=0, weights=False, unrestricted=False)
    found = [
        explain(generator, each, subspace, 2, controls=few)
        for each in (lambda x: x[:, 0].mean((1, 2)) - 0.5, lambda x: x[:, 2].mean((1, 2)) - 0.5)
    ]
    with pytest.raises(IceError, match="explanations of one classifier"):
        judge(found)


def test_a_classifier_keeps_its_mode_and_a_caller_its_hydra(generator, subspace, tmp_path):
    hard = torch.nn.Sequential(Changing(), torch.nn.Threshold(0.0, 0.0))
    hard.train()
    hard[1].forward = lambda x: (x > 0).float()
    with pytest.raises(IceError, match="a classifier whose score changes with the image"):
        explain(generator, hard, subspace, 2, controls=CONTROLS)
    assert all(each.training for each in hard.modules())
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        discover(generator, "hair_color", 1, layers=16)
        assert GlobalHydra.instance().is_initialized()


WRONG = (None, "x", "", -1, 0, 1.5, float("nan"), True, [], {}, b"x", object(), int, torch.zeros(2))
RIGHT = {
    "discover": {"seed": [0], "layers": [None, 0], "faces": [None], "progress": [True]},
    "explain": {
        **{"name": [None, "x", ""], "seed": [0], "directions": [None], "controls": [None], "oracles": [None, {}]},
        **{"faces": [None], "criterion": [None], "alike": [None], "local": [None, True], "held": [True]},
    },
    "traverse": {
        **{"direction": [0], "strength": [None, 1.5], "seed": [0], "local": [None, True], "held": [True]},
        **{"faces": [None], "criterion": [None]},
    },
    "at": {"directions": [None], "held": [True], "faces": [None], "criterion": [None]},
    "invert": {"rate": [1.5]},
}
"""Of these, what each argument takes."""


@pytest.mark.parametrize("call", [discover, explain, judge, traverse, invert, at], ids=lambda call: call.__name__)
def test_every_argument_of_another_type_or_value_is_a_sentence(call, generator, subspace, explained):
    picture = torch.zeros(1, 3, 128, 128)
    whole = {
        "discover": {"generator": generator, "criterion": "hair_color", "people": 1},
        "explain": {"generator": generator, "classifier": "smiling", "subspace": subspace, "people": 1},
        "judge": {"explanations": [explained]},
        "traverse": {"generator": generator, "subspace": subspace, "people": 1},
        "invert": {"generator": generator, "pictures": picture},
        "at": {"generator": generator, "subspace": subspace, "u": torch.zeros(1, 1408)},
    }[call.__name__]
    for name in inspect.signature(call).parameters:
        right = RIGHT.get(call.__name__, {}).get(name, [])
        for value in WRONG:
            if any(value is each or (type(value) is type(each) and value == each) for each in right):
                continue
            with pytest.raises(IceError, match=r"(?s)^expected .*, got .*: ") as raised:
                call(**(whole | {name: value}))
            assert "\n" not in str(raised.value), (name, value)


@pytest.mark.parametrize(
    "wrong,sentence",
    [
        ({"solver": 3}, r"a solver, got 3: pass krylov or exact"),
        ({"solver": "krylof"}, r"a solver out of .*, got 'krylof': did you mean 'krylov'"),
        ({"seed": "a"}, r"seed as a whole number from 0 to .*, got 'a'"),
        ({"layers": "corse"}, r"layers such as 4-8, .*, got 'corse'"),
        ({"space": "y"}, r"a space out of z, w, w\+, s, got 'y'"),
        ({"generator": torch.nn.Linear(2, 2)}, r"a generator with `spaces`, got Linear without"),
    ],
)
def test_a_wrong_argument_says_what_to_do(generator, wrong, sentence):
    with pytest.raises(IceError, match=sentence):
        discover(**({"generator": generator, "criterion": "hair_color", "people": 1} | wrong))


@pytest.mark.parametrize(
    "wrong,sentence",
    [
        ({"classifier": 3}, r"a classifier, got 3: pass the name of an embedded one, a module, or a function"),
        ({"classifier": Criterion}, r"a classifier, got .*: pass the name of an embedded one"),
        ({"classifier": lambda x: None}, r"scores \(N,\) as a tensor from a classifier, got NoneType"),
        ({"method": 3}, r"a method of search, got 3: pass gradient, line or paper"),
        ({"method": "gradent"}, r"a counterfactual out of gradient, line, paper, got 'gradent': did you mean"),
        ({"oracles": {"glasses": 3}}, r"a classifier as oracle 'glasses', got 3"),
        ({"oracles": {"training": "glasses"}}, r"names of oracles that torch's modules don't use .*, got 'training'"),
        ({"oracles": {"a.b": "glasses"}}, r"names of oracles as text without a dot, got 'a.b'"),
    ],
)
def test_a_wrong_argument_of_an_explanation_says_what_to_do(generator, subspace, wrong, sentence):
    with pytest.raises(IceError, match=sentence):
        explain(**({"generator": generator, "classifier": "smiling", "subspace": subspace, "people": 1} | wrong))


def test_latents_and_pictures_of_another_shape_are_sentences(generator, subspace):
    with pytest.raises(IceError, match=r"latents of people \(N, 1408\) in s, got \(2, 7\) of torch.float32"):
        traverse(generator, subspace, torch.zeros(2, 7))
    with pytest.raises(IceError, match="finite numbers in latents of people, got 1408 NaN"):
        traverse(generator, subspace, torch.full((1, 1408), torch.nan))
    with pytest.raises(IceError, match=r"images \(N, 3, 128, 128\), got \(1, 3, 64, 64\)"):
        invert(generator, torch.zeros(1, 3, 64, 64))
    with pytest.raises(IceError, match=r"images as floating numbers in 0..1, got torch.uint8 from 0 to 0"):
        invert(generator, torch.zeros(1, 3, 128, 128, dtype=torch.uint8))
    with pytest.raises(IceError, match=r"images as floating numbers in 0..1, got torch.float32 from 0 to 2"):
        invert(generator, torch.linspace(0, 2, 3 * 128**2).view(1, 3, 128, 128))


def test_latents_and_pictures_of_another_precision_are_taken(generator, subspace):
    """Also such as need a gradient."""
    u, images = generator.people(1, 0, "s"), torch.full((1, 3, 128, 128), 0.5)
    for kind in (torch.float16, torch.float64):
        assert isinstance(traverse(generator, subspace, u.to(kind).requires_grad_(), local=False), Figure)
        assert invert(generator, images.to(kind).requires_grad_(), steps=1).u.dtype == torch.float32


def test_numbers_of_numpy_are_numbers(generator, subspace):
    one = np.int64(1)
    few = ControlSettings(subspaces=0, weights=False, unrestricted=False)
    assert isinstance(
        traverse(generator, subspace, one, direction=np.int32(0), strength=np.float32(1), local=False), Figure
    )
    found = explain(generator, "smiling_biased", subspace, one, seed=np.uint8(3), directions=one, controls=few)
    assert found.explained.rows.number.tolist() == [0] and found.settings.dimension == 1


def test_other_people_are_walked_with_another_seed(generator, subspace):
    pictures = [
        traverse(generator, subspace, 1, seed=seed, strength=0.1, local=False).axes[2].images[0] for seed in (1, 1, 2)
    ]
    one, again, other = (each.get_array() for each in pictures)
    assert np.array_equal(one, again) and not np.array_equal(one, other)


@contextmanager
def double_by_default():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "around",
    [
        pytest.param(torch.inference_mode, id="inference_mode"),
        pytest.param(double_by_default, id="float64", marks=pytest.mark.slow),
        pytest.param(torch.no_grad, id="no_grad", marks=pytest.mark.slow),
        pytest.param(lambda: torch.autocast("cpu", torch.bfloat16), id="autocast", marks=pytest.mark.slow),
    ],
)
def test_what_a_caller_has_set_for_torch_changes_nothing(generator, subspace, around):
    few, network = ControlSettings(subspaces=0, weights=False, unrestricted=False), Changing()
    with around():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()
        image = torch.full((1, 3, 128, 128), 0.5)
        assert discover(generator, "hair_color", 1, layers=16).directions.isfinite().all()
        E = explain(generator, network, subspace, 1, controls=few)
        traverse(generator, subspace, 1), invert(generator, image, steps=1)
        assert before == (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype())
    again = explain(generator, network, subspace, 1, controls=few)
    assert torch.equal(E.explained.rows.moves.t, again.explained.rows.moves.t)


def test_weights_that_need_gradients_get_none_and_still_need_them(generator):
    own = copy.deepcopy(generator).requires_grad_(True)
    own.fingerprint, own.name = generator.fingerprint, generator.name
    invert(own, torch.full((1, 3, 128, 128), 0.5), steps=1)
    assert all(each.requires_grad and each.grad is None for each in own.parameters())


def test_a_generator_in_double_precision_is_refused(generator, subspace):
    with pytest.raises(IceError, match=r"weights are torch.float32, got torch.float64: call .float\(\) on it"):
        traverse(copy.deepcopy(generator).double(), subspace, 1)


def test_what_leads_to_no_picture_is_a_sentence(generator, subspace):
    with pytest.raises(IceError, match=r"finite pixels along the direction, got NaN or infinite ones at .* 1e\+38"):
        traverse(generator, subspace, 1, strength=1e38, local=False)
    with pytest.raises(IceError, match=r"latents that stay finite, got NaN .*: lower the rate from 1e\+30"):
        invert(generator, torch.zeros(1, 3, 128, 128), steps=3, rate=1e30)


@pytest.mark.parametrize(
    "wrong,sentence",
    [
        ({"classifier": lambda x: x.mean((1, 2, 3)) > 0.5}, "scores of a classifier as torch.float32, got torch.bool"),
        (
            {"classifier": lambda x: x.mean((1, 2, 3)) + 0j},
            "as torch.float32, got torch.complex64: return logits",
        ),
        ({"classifier": lambda x: x.mean((1, 2, 3)).double()}, "got torch.float64: return logits"),
        ({"classifier": lambda x: {}[1]}, r"a classifier that takes images of shape .*, got KeyError: 1"),
        ({"classifier": lambda: 1}, "a classifier that takes images of shape .*, got TypeError"),
        ({"oracles": {"a": lambda x: x.mean((2, 3))}}, r"one score per image from oracle 'a', \(16,\), got \(16, 3\)"),
        ({"oracles": {"a": lambda x: x.mean((1, 2, 3)) + 0j}}, "scores of oracle 'a' as torch.float32"),
        ({"oracles": {"a": lambda x: 1 / 0}}, "oracle 'a' that takes images of shape .*, got ZeroDivisionError"),
        ({"method": lambda *_: None}, "Counterfactuals from the method of search, got a NoneType"),
    ],
)
def test_networks_and_methods_of_ones_own_that_fail_are_sentences(generator, subspace, wrong, sentence):
    few = ControlSettings(subspaces=0, weights=False, unrestricted=False)
    given = {"classifier": "smiling", "people": 1, "controls": few} | wrong
    with pytest.raises(IceError, match=sentence):
        explain(generator, subspace=subspace, **given)


@pytest.mark.parametrize(
    "settings,sentence",
    [
        ({"seed": "x"}, "a whole number as explain.controls.seed, got 'x'"),
        ({"seed": -1}, "seed of at least 0, got -1"),
        ({"seed": 2**70}, "explain.controls.seed of at most 1000000000000"),
        ({"weights": "x"}, "explain.controls.weights as true or false, got 'x'"),
    ],
)
def test_controls_of_another_type_are_sentences(settings, sentence):
    with pytest.raises(IceError, match=sentence):
        ControlSettings(**settings)


@pytest.mark.parametrize(
    "settings,sentence",
    [
        ({"margin": "x"}, "counterfactual.margin of at least 0"),
        ({"margin": float("inf")}, "counterfactual.margin of at least 0"),
        ({"bound": True}, "counterfactual.bound above 0"),
        ({"halvings": 1.5}, "a whole number as counterfactual.halvings"),
        ({"improve": -1}, "counterfactual.improve of at least 0"),
    ],
)
def test_a_method_of_other_types_is_a_sentence(settings, sentence):
    with pytest.raises(IceError, match=sentence):
        Gradient(**settings)


def test_explanations_of_other_people_are_not_judged_together(generator, subspace, explained):
    nothing = ControlSettings(subspaces=0, weights=False, unrestricted=False)
    other = explain(generator, "smiling_biased", subspace, 1, controls=nothing)
    with pytest.raises(IceError, match="explanations of the same people, got 2 from seed 1000000, 1 from seed 1000000"):
        judge([explained, other])


def test_a_caller_finds_everything_as_it_was(generator, subspace):
    """Random numbers, which decide nothing, warning filters, Lightning's log level, rounding on GPUs, and modes."""
    torch.manual_seed(7)
    log = logging.getLogger("pytorch_lightning")
    log.setLevel(logging.INFO)
    torch.backends.cudnn.allow_tf32 = True
    network, image = Changing().train(), generator(generator.people(1, 7, "s"), "s").clamp(0, 1)
    state, filters = torch.get_rng_state(), list(warnings.filters)
    found = discover(generator, "hair_color", 1)
    E = explain(generator, network, subspace, 1, controls=ControlSettings(subspaces=0, unrestricted=False))
    judge([E]), traverse(generator, subspace, 1), invert(generator, image, steps=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert warnings.filters == filters
    assert log.level == logging.INFO
    assert torch.backends.cudnn.allow_tf32
    assert network.training and not generator.training
    assert torch.equal(found.directions, subspace.directions)


def test_a_subspace_that_was_found_shows_itself(subspace, tmp_path):
    page = subspace._repr_html_()
    assert "<b>hair color</b>" in page and "activated energy explained" in page and page.count("<img") == 1
    assert isinstance(subspace.spectrum(), Figure) and isinstance(subspace.people(), Figure)
    assert 0 < subspace.metrics.explained_energy <= 1
    again = load_subspace(subspace.save(tmp_path / "subspace.safetensors"))
    assert type(again) is Subspace and "<img" not in again._repr_html_()
    assert again._repr_html_() in page
    fewer = subspace.strongest(1)
    assert fewer.directions.shape == (1408, 1) and fewer.metrics is subspace.metrics


def test_names_from_outside_are_escaped(generator, subspace):
    nothing = ControlSettings(subspaces=0, weights=False, unrestricted=False)
    S = Subspace(subspace.directions, subspace.eigenvalues, "s", subspace.provenance | {"criterion": "<b>&"})
    E = explain(generator, "smiling_biased", S, 1, name="<script>", controls=nothing)
    for page in (S._repr_html_(), E._repr_html_(), judge([E])._repr_html_()):
        assert not re.search(r"<script>|<b>&(?!lt;)", page)
    assert "&lt;b&gt;&amp;" in S._repr_html_()
    assert "&lt;script&gt;" in judge([E])._repr_html_()


def test_a_file_names_the_generator_that_was_passed(generator, subspace):
    """A checkpoint by its path, a module of one's own by its class."""
    from toys import Toy

    assert arguments.generator_settings(generator) == subspace.provenance["config"]["generator"]
    assert subspace.provenance["config"]["generator"]["checkpoint"] == "embedded"
    own = arguments.as_generator(Toy())
    assert arguments.generator_settings(own) == {"_target_": f"{Toy.__module__}.Toy"}


def test_nothing_is_written(tmp_path, monkeypatch, generator):
    monkeypatch.chdir(tmp_path)
    discover(generator, "hair_color", 1, layers=16)
    assert not list(tmp_path.iterdir())


def test_names_are_found():
    assert all(callable(getattr(ice_lightning, name)) for name in ice_lightning.__all__)
