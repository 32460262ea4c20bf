"""What README and docs tell users to type is run, in small; what they point to is there."""

import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import writers
import yaml
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import save_file

from ice_lightning.checkpoints import ASSETS, load_generator
from ice_lightning.checkpoints.__main__ import main as convert
from ice_lightning.modules.classifier import Classifier
from ice_lightning.modules.stylegan2 import Generator
from ice_lightning.run import main
from ice_lightning.synthetic import factors_from_z, render
from ice_lightning.synthetic.__main__ import main as draw

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

COMPOSED = {
    "trainer=gpu": "needs a GPU",
    "trainer=ddp": "needs GPUs; tests/tasks/test_run.py runs it on CPUs",
    "trainer=ddp_cpu": "forks; tests/tasks/test_run.py runs it in a process of its own",
    "ckpt_path=last": "needs an interrupted run; tests/tasks/test_run.py interrupts one and goes on",
    "hydra/launcher=joblib": "tests/tasks/test_run.py runs it",
    "hydra/launcher=submitit_slurm": "needs SLURM; tests/tasks/test_run.py runs submitit's local launcher",
    "classifier=timm": "timm isn't among what the package or its tests need",
    "precision=bfloat16": "tests/tasks/test_run.py runs it",
    "logger.mode=online": "needs an account; tests/loggers/test_wandb.py runs it against a dead server",
    "faces=pretrained": "takes two minutes; tests/faces/test_pretrained.py runs it on files of the true formats",
    "faces=landmarks": "needs landmarks of true faces; tests/faces/test_landmark_faces.py runs it on the embedded ones",
    "experiment=space_comparison": "takes half a minute; tests/tasks/test_run.py runs it",
}
"""Settings of commands that are composed only, and why."""

SKIPPED = {
    "wandb sync": "needs an account and a network",
    "python -m ice_lightning.explore": "serves until it is interrupted; tests/explore/test_explore.py asks it",
    ". .venv/bin/activate": "what it would change is the shell",
    "make": "whether the target exists is tested",
    "pip install": "whether the extra exists is tested",
}
"""Commands that aren't run at all, and why."""


# What pages say


class Block(NamedTuple):
    """Part of a page: `kind` is the language of a fence, "command" for an indented one, "inline" within a sentence."""

    kind: str
    text: str
    file: str = ""


def blocks(page):
    """The blocks of a page in their order; one right after a paragraph that ends in `name`: is that file."""
    pattern = r"^```(\w*)\n(.*?)^```$|(?<=\n\n)((?:    [^\n]*\n)+)|`(python -m [^`\n]+)`"
    for match in re.finditer(pattern, page, re.MULTILINE | re.DOTALL):
        kind, fenced, indented, inline = match.groups()
        named = re.search(r"`([\w./]+)`:\n+$", page[: match.start()])
        if fenced is not None:
            yield Block(kind, fenced, named[1] if named else "")
        else:
            yield Block("command", indented) if indented else Block("inline", inline)


def commands(block):
    """The lines of a block, without comments and without what starts them on a cluster."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words[1:] if words[0] in ("srun", "torchrun") else words


def test_blocks_are_found():
    page = (
        "A:\n\n    make demo  # x\n    a b\n\nIn `my.py`:\n\n```python\nx = 1\n\n    y\n```\n\nRun `python -m m n`.\n"
    )
    found = list(blocks(page))
    assert [(each.kind, each.file) for each in found] == [("command", ""), ("python", "my.py"), ("inline", "")]
    assert list(commands(found[0])) == [["make", "demo"], ["a", "b"]]
    assert list(commands(found[2])) == [["python", "-m", "m", "n"]]


# Files that commands name, in their true formats


def generator_file(path, write, **more):
    """A small generator of 128 px with random weights."""
    torch.manual_seed(0)
    given = {"z_dim": 8, "w_dim": 8, "img_resolution": 128, "mapping_layers": 2, "channels": [8] * 6} | more
    G = Generator(**given).eval().requires_grad_(False)
    defaults = {"c_dim": 0, "conv_clamp": None, "architecture": "skip", "lr_multiplier": 0.01, "label_norm": "apart"}
    G.settings = defaults | {"channel_base": 1024, "channel_max": 8} | given
    path.write_bytes(write(G))


def own_network(path, **arguments):
    """Weights of the network that the page has written."""
    from my_net import MyNet

    state = MyNet(**arguments).state_dict()
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)


def dcgan(path):
    """Weights of the generator that the page has written."""
    from my_gan import Dcgan

    torch.save(Dcgan().state_dict(), path)


def program(path):
    batch = torch.export.Dim("batch", min=1, max=1024)
    network, image = Classifier().eval(), torch.zeros(2, 3, 224, 224)
    torch.export.save(torch.export.export(network, (image,), dynamic_shapes={"image": {0: batch}}), str(path))


def face_api_manifest(path):
    (network,) = (each for each in ("landmark", "recognition", "expression", "age_gender") if each in path.name)
    writers.manifest(path, writers.face_api({"landmark": "landmarks"}.get(network, network)), lambda name: "uint8")


def pictures(path):
    path.mkdir()
    (image,) = render(factors_from_z(load_generator("embedded").sample(1, 77)), 128).image
    Image.fromarray((image.permute(1, 2, 0) * 255).round().byte().numpy()).save(path / "me.png")


FILES = {
    "stylegan2-ffhq-config-f.pkl": lambda path: generator_file(path, writers.tensorflow),
    "ffhq.safetensors": lambda path: generator_file(path, lambda G: writers.saved(G.state_dict())),
    "classes.pkl": lambda path: generator_file(path, writers.ada, c_dim=5),
    "mine.safetensors": own_network,
    "mine3.pth": lambda path: own_network(path, classes=3),
    "mine.pt2": program,
    "dcgan.pth": dcgan,
    "photos": pictures,
    "face_expression_model-weights_manifest.json": face_api_manifest,
}
"""Who writes a file that isn't there when a command names it."""


# Commands, in small


def two_jobs(arguments):
    """The arguments of a sweep with two values of the first that has several, and one of the others."""
    left = 2
    for each in arguments:
        name, equals, value = each.partition("=")
        several = equals and "," in value and value[0] not in "[{'"
        yield f"{name}={','.join(value.split(',')[:left])}" if several else each
        left = 1 if several else left


SHIPPED = {file.stem for file in (ASSETS / "subspaces").glob("*.safetensors")}


def shrunk(arguments):
    """The arguments of a run with what takes time made small; what decides the kind of run stays."""
    given = dict(each.partition("=")[::2] for each in arguments)
    small = {"latents.count": 1, "latents.seed": 0, "criterion.rank": 2, "logger": "none"}
    last = {"s": 16, "w+": 11}  # layers, where every command is quickest
    if given.get("space", "s") in last:
        small |= {"layers": last[given.get("space", "s")]}
    if given.get("task") == "explain" and set(given.get("criterion", "").split(",")) <= SHIPPED:
        small = {"logger": "none"}  # nothing has to be found
    small |= {
        "explain": {
            "explain.people": 2,
            "explain.controls": "{subspaces: 0, weights: false, unrestricted: false}",
            "explain.oracles": "[smiling]",
            "counterfactual.steps": 4,
        },
        "traverse": {"traverse.people": 1, "traverse.directions": 1, "traverse.frames": 4},
        "invert": {"invert.steps": 2},
    }.get(given.get("task", "discover"), {})
    kept = {"logger", "criterion.rank", "explain.controls", "explain.oracles"}  # as the page has them
    arguments = list(two_jobs(arguments)) if "-m" in arguments else arguments
    small = {name: value for name, value in small.items() if name not in given or name not in kept}
    rest = [each for each in arguments if each.partition("=")[0] not in small]
    return [*rest, *(f"{name}={value}" for name, value in small.items())]


def composed(arguments):
    """Settings of the first run that arguments lead to."""
    plain = [each for each in arguments if each != "-m"]
    overrides = OverridesParser.create().parse_overrides(plain)
    first = [
        f"{each.get_key_element()}={next(each.sweep_string_iterator())}"
        if each.is_sweep_override()
        else each.input_line
        for each in overrides
    ]
    with initialize_config_module("ice_lightning.conf", version_base="1.3"):
        cfg = compose("config", first, return_hydra_config=True)
    OmegaConf.to_container(
        OmegaConf.masked_copy(cfg, [key for key in cfg if key not in ("hydra", "run_dir", "logger")])
    )
    return cfg


@pytest.fixture(scope="module")
def ran():
    """Commands that were run before, in small."""
    return set()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where they were."""
    return tmp_path_factory.mktemp("user")


class User:
    """Types what a page says, in a folder; in Python for one person."""

    def __init__(self, folder, ran, monkeypatch):
        self.folder, self.ran, self.monkeypatch, self.names = folder, ran, monkeypatch, {}

    def does(self, block):
        if block.file:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
            sys.modules.pop(path.stem, None)
        elif block.kind == "python":
            exec(compile(re.sub(r"\bpeople=\d+", "people=1", block.text), "docs", "exec"), self.names)
        elif block.kind in ("command", "bash", "inline"):
            for words in commands(block):
                if block.kind == "inline" and len(words) == 3:  # a name, not a command to type
                    assert importlib.util.find_spec(words[2]), words[2]
                else:
                    self.types(words)
        else:
            assert block.kind in ("text", "yaml"), f"no one knows what to do with a block of {block.kind!r}"

    def types(self, words):
        line = " ".join(words)
        if any(line.startswith(start) for start in SKIPPED):
            return
        assert words[:2] == ["python", "-m"], f"no one knows how to run {line!r}"
        module, arguments = words[2], words[3:]
        if set(arguments) & COMPOSED.keys():
            assert composed(arguments).task.name
            return
        for name, write in FILES.items():
            wanted = any(name in re.split(r"[=,]", word) for word in words)
            if wanted and not (self.folder / name).exists() and not self.writes(words, name):
                write(self.folder / name)
        if module == "ice_lightning.run":
            self.runs(arguments)
        elif module == "ice_lightning.checkpoints":
            assert convert(arguments) == 0, line
        elif module == "ice_lightning.synthetic":
            assert draw(arguments) == 0, line
        else:
            subprocess.run([sys.executable, "-m", module, *arguments], cwd=self.folder, check=True, timeout=100)

    def writes(self, words, name):
        """Whether a conversion makes this file itself."""
        return words[2] == "ice_lightning.checkpoints" and words.index(name) == 4

    def runs(self, arguments):
        small = shrunk(arguments)
        # What was run before, but for its folder, is run again only where a folder is named that isn't there.
        where = [each.partition("=")[2] for each in small if each.startswith(("hydra.run.dir", "hydra.sweep.dir"))]
        key = tuple(each for each in small if not each.startswith("hydra.run.dir"))
        if key in self.ran and all((self.folder / each).exists() for each in where):
            return
        self.ran.add(key)
        self.monkeypatch.setattr(sys, "argv", ["run", *small])
        try:
            main()
        except SystemExit as ended:
            raise AssertionError(f"exit status {ended.code}: {' '.join(small)}") from ended


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_page_says_can_be_done(path, folder, ran, few_pairs, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    user = User(folder, ran, monkeypatch)
    for block in blocks(path.read_text()):
        user.does(block)


def test_make_targets_and_extras_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for path in PAGES:
        text = path.read_text()
        named = set(re.findall(r"(?:^    |`)make ([\w-]+)", text, re.MULTILINE))
        assert named <= targets, f"{path.name} names {named - targets}"
        extras = {each for group in re.findall(r"pip install \"[\w.]+\[([\w,]+)\]", text) for each in group.split(",")}
        extras |= set(re.findall(r"extra `(\w+)`", text))
        assert extras <= project["optional-dependencies"].keys(), path.name


def test_settings_that_are_named_exist():
    groups = {p.name for p in (ROOT / "conf").iterdir() if p.is_dir()}
    bases = [
        ["classifier=own", "faces=pretrained"],
        ["faces=landmarks"],
        ["hydra/launcher=submitit_slurm"],
        ["hydra/launcher=joblib"],
    ]
    cfgs = [composed(base) for base in bases]
    missing = object()
    for path in PAGES:
        for name, value in re.findall(r"`(?:[^`\n]* )?([a-z]\w*(?:[./]\w+)*)=([^`\s]*)[^`\n]*`", path.read_text()):
            if name in groups | {"hydra/launcher"}:
                options = {
                    p.relative_to(ROOT / "conf" / name).with_suffix("").as_posix()
                    for p in (ROOT / "conf").glob(f"{name}/**/*.yaml")
                }
                wanted = {each for each in value.split(",") if re.fullmatch(r"[a-z]\w*(/\w+)?", each)}
                assert name == "hydra/launcher" or wanted <= options, f"{path.name}: {name}={value}"
            else:
                known = any(OmegaConf.select(cfg, name, default=missing) is not missing for cfg in cfgs)
                assert known, f"{path.name} names {name}"


# Links, and the site


@pytest.mark.parametrize("path", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_pictures_lead_somewhere(path):
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?://", target):
            assert (path.parent / target.partition("#")[0]).exists(), target


def test_every_page_is_in_the_navigation():
    def pages(node):
        if isinstance(node, str):
            return [node]
        return [page for part in (node.values() if isinstance(node, dict) else node) for page in pages(part)]

    listed = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    notebooks = [p.with_suffix(".md") for p in (ROOT / "docs" / "notebooks").glob("*.ipynb")]
    assert sorted(listed) == sorted(str(p.relative_to(ROOT / "docs")) for p in [*PAGES[1:], *notebooks])


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("mkdocs", "mkdocstrings_handlers")),
    reason="mkdocs and mkdocstrings[python] aren't installed (pip install '.[dev]')",
)
def test_the_site_builds_and_fetches_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    away = r"(?:https?:)?//"
    for file in (tmp_path / "site").rglob("*.html"):
        for tag in re.findall(r"<(?:link|script|img|iframe|source|video)\b[^>]*>", file.read_text()):
            if "canonical" not in tag:
                assert not re.search(rf"(?:src|href|srcset)=[\"']?{away}", tag), f"{file.name}: {tag}"
    for file in (tmp_path / "site").rglob("*.css"):
        assert not re.search(rf"(?:url\([\"']?|@import [\"']){away}", file.read_text()), file.name
    reference = (tmp_path / "site" / "reference" / "subspace.html").read_text()
    for name in ("load_generator", "load_subspace", "Subspace", "convert", "sample", "forward"):
        assert name in reference
