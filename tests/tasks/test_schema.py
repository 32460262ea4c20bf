"""Every wrong setting is one sentence, before anything is loaded."""

import functools
import re
import typing
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from processes import command

from ice_lightning.checks import IceError
from ice_lightning.classifiers import EMBEDDED
from ice_lightning.criterions.term import PROJECTIONS
from ice_lightning.discovery.module import PRECISIONS
from ice_lightning.latents import check_room
from ice_lightning.metrics import CONVENTIONS
from ice_lightning.modules.classifier import KINDS
from ice_lightning.population import GEOMETRIES
from ice_lightning.run import check
from ice_lightning.tasks import arguments, schema
from ice_lightning.tasks.base import check_trainer
from ice_lightning.tasks.settings import resolved

CONF = Path(__file__).parents[2] / "conf"
FILES = sorted(str(path.relative_to(CONF).with_suffix("")) for path in CONF.rglob("*/*.yaml"))
OWN = {
    "generator/own": ["generator._target_=ice_lightning.modules.stylegan2.Generator"],
    "classifier/timm": ["classifier.network.model_name=resnet18"],
}
"""What has to be given with some choices."""


def chosen(file):
    """The overrides that choose a file of conf."""
    group, _, name = file.partition("/")
    return [f"{group}={name}", *OWN.get(file, [])]


@pytest.mark.parametrize("file", FILES)
def test_every_choice_of_the_package_is_accepted(compose, file):
    plain = resolved(compose(*chosen(file)))
    check(plain)
    assert not [name for name in leaves(plain) if not covered(name, plain)]


WRONG = {
    "latents.count=two": "latents.count as a whole number of at least 1, got 'two': for example latents.count=1",
    "latents.count=1e9": "latents.count as .*, got 1000000000.0: write 1000000000, without point and exponent",
    "latents.count=-3": "latents.count as a whole number of at least 1, got -3",
    "latents.count=true": "latents.count as .*, got true",
    "latents.count=null": "latents.count as .*, got null",
    "latents.count=[1]": r"latents.count as .*, got \[1\]",
    "latents.count=inf": "latents.count as .*, got Infinity",
    "latents.count=???": "latents.count as a whole number of at least 1, got none",
    "latents=3": "latents as settings with a _target_, got 3",
    "~latents._target_": "latents as settings with a _target_, got",
    "latents.seed=x": "latents.seed as a whole number from 0 to 1000000000000, got 'x'",
    "latents.seed=-1": "latents.seed as .*, got -1",
    "latents.seed=100000000000000000000": "latents.seed as .*, got 1000",
    "latents.file=3": "latents.file as text, or null, got 3: write it in quotes, 'latents.file=\"3\"'",
    "+latents.cuont=3": "a setting of latents out of count, seed, batch, file, got 'cuont': did you mean 'count'",
    "+nonsense=1": "a setting out of task, generator, space, .*, got 'nonsense'",
    "+explain.poeple=3": "a setting of explain out of people, .*, got 'poeple': did you mean 'people'",
    "~explain.people": "explain.people as a whole number of at least 1, got none",
    "~explain": "explain as settings by name, got none",
    "+explain._target_=builtins.dict": "a setting of explain out of .*, got '_target_'",
    "explain=many": "explain as settings by name, got 'many'",
    "explain.directions=0": "explain.directions as a whole number of at least 1, or null, got 0",
    "explain.people=many": "explain.people as a whole number of at least 1, got 'many'",
    "explain.batch=0": "explain.batch as a whole number of at least 1, got 0",
    "+explain.controls.wieghts=true": "a setting of explain.controls out of .*: did you mean 'weights'",
    "explain.controls.weights=maybe": "explain.controls.weights as true or false, got 'maybe'",
    "explain.controls=random": "explain.controls as settings by name, got 'random'",
    "explain.oracles=[smilng]": "explain.oracles as a list of classifiers, .*: did you mean 'smiling'",
    "explain.oracles=smiling": r".* as a list of classifiers, .*: write it as a list, explain.oracles=\[smiling\]",
    "metrics.convention=theirs": "metrics.convention as one of own, ace, got 'theirs'",
    "geometry=flat": "geometry as one of population, euclidean, got 'flat'",
    "traverse.rate=0": "traverse.rate as a number above 0, got 0",
    "traverse.rate=nan": "traverse.rate as a number above 0, got NaN",
    "traverse.frames=3": "traverse.frames as a whole number of at least 4, got 3",
    "invert.steps=-1": "invert.steps as a whole number of at least 1, got -1",
    "image=2024": "image as text, or null, got 2024: write it in quotes",
    "precision=float8": "precision as one of float32, tf32, bfloat16, got 'float8': did you mean 'float32'",
    "space=3": "space as text, got 3",
    "criterion.rank=0": "criterion.rank as a whole number of at least 1, or null, got 0",
    "criterion.local_relaxation=0": "criterion.local_relaxation as a number from 1 to 1e6, got 0",
    "criterion.activate_ratio=2": r"criterion.activate_ratio as a number in \(0, 1\], got 2",
    "criterion.projection=sof": "criterion.projection as one of .*, got 'sof': did you mean 'soft'",
    "criterion.activate={} criterion.activate=null": "criterion.activate as at least one term by name, got null",
    "+criterion.ranks=3": "a setting of criterion out of .*, got 'ranks': did you mean 'rank'",
    "+criterion.suppress.residual.ratios=1": "a setting of criterion.suppress.residual .*, got 'ratios'",
    "~criterion.suppress.residual.ratio": r"criterion.suppress.residual.ratio as a number in \(0, 1\], got none",
    "~criterion.activate.color.term": "criterion.activate.color.term as settings with a _target_, got none",
    "criterion.activate.color=3": "criterion.activate.color as settings by name, or null, got 3",
    "criterion.suppress.texture.term.regions=hair": "criterion.suppress.texture.term.regions as a list, .*, got 'hair'",
    "criterion.activate.color.term.size=big": "criterion.activate.color.term.size as a whole number, got 'big'",
    "~criterion.activate.color.term.regions": "criterion.activate.color.term.regions as a list, .*, got none",
    "+criterion.activate.color.term.sise=3": "a setting of criterion.activate.color.term out of .*'size'",
    "solver.tolerance=big": r"solver.tolerance as a number in \(0, 1\], got 'big'",
    "solver.memory=4": "solver.memory as text, got 4: write it in quotes",
    "+solver.step=3": "a setting of solver out of rows, .*, got 'step'",
    "counterfactual.bound=-1": "counterfactual.bound as a number above 0, or null, got -1",
    "trainer.devices=0": "trainer.devices as a number of processes, .*, got 0: for example trainer.devices=1",
    "trainer.devices=all": "trainer.devices as .*, got 'all'",
    "trainer.max_epochs=0": "trainer.max_epochs as -1, or .*, got 0",
    "+trainer.max_epoch=3": "a setting of trainer out of .*, got 'max_epoch': did you mean 'max_epochs'",
    "trainer.log_every_n_steps=x": "trainer.log_every_n_steps as a whole number or null, got 'x'",
    "generator.checkpoint=3": "generator.checkpoint as text, got 3",
    "generator=own": r"a class or function as generator\._target_, got none: set generator\._target_=MODULE.NAME",
    "generator._target_=nowhere.G": r"a class or function as generator\._target_, got 'nowhere.G' \(No module",
    "generator._target_=math.pi": "a class or function as .*, got 'math.pi', which can't be called",
    "+faces.size=3": "no settings of faces, got 'size': drop it",
    "classifier=own classifier.size=0": "classifier.size as a whole number of at least 1, or null, got 0",
    "classifier=own classifier.network=my.Net": "classifier.network as settings with a _target_, or null, got 'my.Net'",
    "classifier=own classifier.kind=bin": "classifier.kind as one of .*: did you mean 'binary'",
    "logger=csv logger.save_dir=3": "logger.save_dir as text, got 3",
    "logger=wandb +logger.settings.slient=true": "a setting of logger.settings out of .*: did you mean 'silent'",
    "task.name=3": "task.name as one of discover, .*, got 3",
}


@pytest.mark.parametrize("overrides", WRONG)
def test_a_wrong_setting_is_told(compose, overrides):
    with pytest.raises(IceError) as raised:
        check(resolved(compose(*overrides.split())))
    assert re.match(f"expected {WRONG[overrides]}", str(raised.value)), raised.value
    assert "\n" not in str(raised.value)


ACCEPTED = [
    "~classifier",
    "classifier=own +classifier.network={_target_:ice_lightning.modules.classifier.Classifier,size:32}",
    "classifier=own classifier.mean=[0,0.5,1] classifier.kind=multiclass classifier.target=2",
    "criterion.suppress=null",
    "criterion.suppress.texture=null",
    "criterion.activate.color.term.size=32 +criterion.activate.color.term.dilate=1",
    "+criterion.suppress.texture.term.ring=0.1",
    "+criterion.activate.more={weight:2,term:{_target_:ice_lightning.criterions.Identity}}",
    "layers=4 criterion.layers=4-8",
    "trainer.devices=auto +trainer.deterministic=true +trainer.profiler=simple",
    "trainer.devices=[0] trainer.devices='0,1'",
    "logger=wandb +logger.notes=mine logger.tags=[a]",
    "latents.count=1000000000",
    "precision=bfloat16 solver=exact counterfactual=paper explain.directions=null explain.oracles=[]",
    "explain.controls={subspaces:0,weights:false} explain.controls.people=500",
    "explain.oracles=[glasses,{name:mine,path:mine.pt2,trust:true}] metrics.query=glasses geometry=population",
    f"generator=own generator._target_={__name__}.takes_anything +generator.path=x +generator.size=many",
    f"classifier=smiling classifier._target_={__name__}.half_typed +classifier.size=[3,4] +classifier.other=x",
]


def takes_anything(**settings):
    """A generator of somebody's, as far as its signature tells."""


def half_typed(name, size: "nowhere.Size", other: [int] = None):  # noqa: F821
    """A classifier of somebody's whose annotations only a reader understands."""


@pytest.mark.parametrize("overrides", ACCEPTED)
def test_what_one_may_add_is_accepted(compose, overrides):
    check(resolved(compose(*overrides.split())))


def leaves(node, name=""):
    """Dotted names of a composed config, groups included."""
    if name:
        yield name
    for key, value in node.items() if isinstance(node, dict) else ():
        yield from leaves(value, f"{name}.{key}" if name else key)


ODD = ["x", "", -1, 0, 1.5, 1e9, 10**30, True, None, [1], [], {}, {"_target_": 3}, {"_target_": "x"}, {1: 2}, "???"]


@pytest.mark.parametrize(
    "choice", ["classifier=smiling", "classifier=own solver=exact counterfactual=paper logger=csv"]
)
def test_any_value_anywhere_is_accepted_or_told(compose, choice):
    plain = resolved(compose(*choice.split()))
    told = 0
    for name in leaves(plain):
        *path, last = name.split(".")
        group = functools.reduce(lambda node, part: node[part], path, plain)
        for odd in ODD:
            kept, group[last] = group[last], odd
            try:
                check(plain)
            except IceError as error:
                assert str(error).startswith("expected ") and "\n" not in str(error), (name, odd)
                told += 1
            group[last] = kept
    assert told > 500


def covered(name, config):
    """Whether the table names a setting, or it is an argument below a `_target_`."""
    parts, tree = name.split("."), schema.TREE
    node = config
    for part in parts:
        if part not in tree and schema.ANY not in tree:
            return "_target_" in node
        tree, node = tree.get(part, tree.get(schema.ANY)), node[part]
    return True


def test_the_table_holds_every_setting_and_no_other(compose):
    said = yaml.safe_load((CONF / "config.yaml").read_text())
    said = {key: value for key, value in said.items() if key not in ("defaults", "hydra")}
    assert set(leaves(said)) - set(leaves(schema.TREE)) == {"latents._target_"}
    every = {"criterion.suppress", "criterion.whole_maps"}  # which some presets say
    for file in FILES:
        if file.partition("/")[0] not in ("criterion", "experiment"):
            every |= set(leaves(resolved(compose(*chosen(file)))))
    assert {name for name in schema.TABLE if "*" not in name} <= every
    for path in (path for group in ("solver", "counterfactual") for path in (CONF / group).glob("*.yaml")):
        numbers = [key for key, value in yaml.safe_load(path.read_text()).items() if isinstance(value, int | float)]
        assert {f"{path.parent.name}.{key}" for key in numbers} <= set(schema.TABLE), "a number has a range"


def test_choices_are_those_of_the_code():
    options = {name: kind.options for name, kind in schema.TABLE.items()}
    assert options["criterion.projection"] == PROJECTIONS
    assert options["precision"] == PRECISIONS
    assert options["geometry"] == GEOMETRIES
    assert options["metrics.convention"] == CONVENTIONS
    assert options["explain.oracles"] == EMBEDDED
    assert options["classifier.kind"] == KINDS
    assert set(options["task.name"]) == {path.stem for path in (CONF / "task").glob("*.yaml")}


@pytest.mark.parametrize(
    "hint,good,bad",
    [
        (int, [1, -1], [1.0, True, "1", None]),
        (float, [1, 0.5], [True, "1", float("nan")]),
        (str | None, ["", None], [1, []]),
        (typing.Optional[bool], [True, None], [1, "true"]),  # noqa: UP045
        (Sequence[str], [[], ["a"]], ["a", [1], {}]),
        (tuple[int, ...], [[1, 2]], [[0.5], 1]),
        (tuple[int, str], [[1, "a"]], ["a"]),
        (typing.Literal["a", 1], ["a", 1], ["b"]),
        (list[list[int]], [[[1]]], [[1]]),
        (object, [1, "x", {}, None], []),
    ],
)
def test_annotations_are_read(hint, good, bad):
    assert all(arguments.suits(each, hint) for each in good)
    assert not any(arguments.suits(each, hint) for each in bad)
    assert arguments.suits({"_target_": "somewhere.Thing"}, hint)


@pytest.mark.parametrize(
    "overrides,sentence",
    [
        ("trainer=gpu", "a CUDA device, got none: set trainer=cpu"),
        ("trainer=ddp", "a CUDA device, got none: set trainer=cpu"),
        ("trainer.accelerator=gpuu", "a trainer that Lightning can build here, got '.*gpuu"),
        ("+trainer.strategy=ddpp", "a trainer that Lightning can build here, got '.*ddpp"),
        ("trainer.devices=-1", "a trainer that Lightning can build here, got '.*int > 0"),
    ],
)
def test_an_impossible_trainer_is_told(compose, monkeypatch, overrides, sentence):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    cfg = compose(overrides)
    check(resolved(cfg))
    with pytest.raises(IceError, match=f"expected {sentence}"):
        check_trainer(cfg)


def test_more_people_than_memory_holds_are_refused():
    check_room(100_000, 512)
    with pytest.raises(
        IceError, match=r"at most \d+ people, whose latents half of the memory holds, got 10+: draw fewer"
    ):
        check_room(10**12, 512)


@pytest.mark.parametrize("task", ["discover", "explain", "verdict", "invert", "traverse", "list"])
def test_every_task_checks_first(tmp_path, task):
    done = command("logger=none", f"task={task}", "latents.count=two", f"hydra.run.dir={tmp_path}/out", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "ice_lightning: expected latents.count as a whole number of at least 1, got 'two': "
        "for example latents.count=1\n"
    )
