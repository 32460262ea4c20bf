import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from hydra import initialize_config_module
from hydra.utils import instantiate
from PIL import Image
from processes import Fork, command, interpreter, run_main
from records import read
from safetensors import SafetensorError

from ice_lightning import load_subspace
from ice_lightning.checkpoints import ASSETS, read_network, save_network, sha256
from ice_lightning.checks import IceError
from ice_lightning.criterions import RegionColor
from ice_lightning.discovery.module import Discovery
from ice_lightning.files import LAST
from ice_lightning.modules.stylegan2 import Generator
from ice_lightning.run import main, run
from ice_lightning.solvers.problem import VERSION
from ice_lightning.tasks.build import build_criterion
from ice_lightning.tasks.errors import sentence

CONF = Path(__file__).parents[2] / "conf"
QUICK = ("space=w", "latents.count=2", "criterion=paper/skin_color", "criterion.suppress.residual.ratio=0.2")


@pytest.fixture(scope="module")
def quick(small):
    """A search among the 48 coordinates of z on the small portraits, for what doesn't depend on either."""
    return "space=z", *QUICK[1:], small(32), "criterion.rank=2", "local=false"


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """In an interpreter of its own, on the embedded generator."""
    folder = tmp_path_factory.mktemp("run")
    done = interpreter("space=z", *QUICK[1:], f"hydra.run.dir={folder}/out", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "out", done


def test_a_run_leaves_what_it_promises(whole_run):
    folder, done = whole_run
    for name in ("subspace.safetensors", "metrics.json", "traversal.png", "spectrum.png", "people.png", "report.html"):
        assert (folder / name).stat().st_size > 0, name
    assert "traversal.png" in done.stdout
    assert list(folder.glob("wandb/offline-run-*/*.wandb"))
    assert not list(folder.glob(".*part*"))


def test_metrics_and_subspace_agree(whole_run):
    folder, _ = whole_run
    metrics, S = json.loads((folder / "metrics.json").read_text()), load_subspace(folder)
    assert {"rank", "eigenvalues", "explained_energy", "leakage", "seconds", "peak_memory_mb"} <= set(metrics)
    n, k = S.directions.shape
    assert (n, k) == (48, metrics["rank"])
    torch.testing.assert_close(S.directions.T @ S.directions, torch.eye(k, dtype=torch.float64))
    assert metrics["eigenvalues"] == S.eigenvalues.tolist() == sorted(metrics["eigenvalues"], reverse=True)
    assert 0 < metrics["explained_energy"] <= 1
    assert all(0 <= leak <= 0.2 for leak in metrics["leakage"].values())
    assert S.provenance["criterion"] == "skin_color"
    assert S.provenance["generator_sha256"] == sha256(ASSETS / "generator.safetensors")
    assert S.provenance["seed"] == 0
    assert S.provenance["config"]["latents"]["count"] == 2


def test_two_processes_find_the_same(compose, quick, tmp_path):
    settings = (*quick, "latents.count=3")
    done = command(*settings, "trainer=ddp_cpu", f"hydra.run.dir={tmp_path}/two", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    one, two = run(compose(*settings, "logger=none")).subspace, load_subspace(tmp_path / "two")
    (record,) = tmp_path.glob("two/wandb/offline-run-*/run-*.wandb")
    assert len([each for each in read(record.parent) if each.WhichOneof("record_type") == "exit"]) == 1
    assert two.provenance["people_used"] == one.provenance["people_used"] == 3
    assert one.angles(two).max() < 1e-4


def test_more_processes_than_people_are_refused(quick, tmp_path):
    done = command(
        *quick, "latents.count=1", "trainer=ddp_cpu", "logger=none", f"hydra.run.dir={tmp_path}/out", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "expected at least as many people as processes (2), got 1" in done.stderr


def test_a_process_that_stops_gives_its_sentence(quick, tmp_path):
    settings = ("trainer=ddp_cpu", "logger=none", "criterion.suppress.residual.ratio=1e-12")
    done = command(*quick, *settings, f"hydra.run.dir={tmp_path}/out", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "ice_lightning: expected suppressed terms that leave a direction free"
    )


def test_the_page_needs_no_other_file(whole_run):
    page = (whole_run[0] / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert page.count("data:image/png;base64") == 3


@pytest.mark.parametrize("chunk,threads", [(64, 1), pytest.param(None, 2, marks=pytest.mark.slow)])
def test_the_same_seed_gives_the_same_directions_at_any_chunk_and_number_of_threads(
    compose, quick, tmp_path, chunk, threads
):
    one = run(compose(*quick, "solver.chunk=1", f"run_dir={tmp_path}/one")).subspace.directions
    torch.set_num_threads(threads)
    other = run(compose(*quick, f"solver.chunk={chunk or 'null'}")).subspace.directions
    torch.set_num_threads(1)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_products_find_what_whole_jacobians_find(compose, small, tmp_path):
    """skin_color in the layers from 16 px on, whose 576 coordinates are more than the products that it takes."""
    settings = ("criterion=skin_color", small(32), "layers=16px-", "latents.count=1", "criterion.rank=2", "local=false")
    found = {}
    for solver in ("exact", "krylov"):
        found[solver] = run(compose(*settings, f"solver={solver}", f"run_dir={tmp_path}/{solver}"))
    metrics = found["krylov"].metrics
    assert metrics["products_per_person"] < found["exact"].metrics["products_per_person"] == 576
    assert metrics["residual"] <= 0.1
    assert not metrics["stopped_early"]
    assert found["krylov"].subspace.angles(found["exact"].subspace).max() < 0.15


def test_an_interrupted_run_goes_on_to_the_same_directions(compose, small, tmp_path, monkeypatch):
    settings = ("criterion=skin_color", small(32), "layers=16px-", "latents.count=1", "criterion.rank=2", "local=false")
    once = run(compose(*settings, f"run_dir={tmp_path}/once"))
    assert once.metrics["passes"] > 2
    assert not (tmp_path / "once" / LAST).exists()
    answer, calls = Discovery.replies, []

    def dies(module):
        calls.append(module)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return answer(module)

    monkeypatch.setattr(Discovery, "replies", dies)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(compose(*settings, f"run_dir={tmp_path}/twice"))
    monkeypatch.undo()
    assert not (tmp_path / "twice" / "subspace.safetensors").exists()
    with pytest.raises(IceError, match=r"the same settings \(criterion.rank: 3\), got one with 2: set it to that"):
        run(compose(*settings, "criterion.rank=3", f"run_dir={tmp_path}/twice", "ckpt_path=last"))
    older = tmp_path / "older.ckpt"
    checkpoint = torch.load(tmp_path / "twice" / LAST, weights_only=False)
    del checkpoint["search"]
    torch.save(checkpoint, older)
    with pytest.raises(IceError, match=rf"of this search \(version {VERSION}\), got version 1, .*: drop ckpt_path"):
        run(compose(*settings, f"run_dir={tmp_path}/twice", f"ckpt_path={older}"))
    again = run(compose(*settings, f"run_dir={tmp_path}/twice", "ckpt_path=last"))
    assert torch.equal(again.subspace.directions, once.subspace.directions)


def test_a_missing_checkpoint_is_named(compose, tmp_path):
    with pytest.raises(IceError, match=r"a checkpoint at .*last\.ckpt, got none: set hydra.run.dir"):
        run(compose("ckpt_path=last", f"run_dir={tmp_path}"))


@pytest.mark.parametrize(
    "name", sorted(str(p.relative_to(CONF / "criterion").with_suffix("")) for p in (CONF / "criterion").rglob("*.yaml"))
)
def test_every_preset_composes_and_builds(compose, faces, name):
    criterion = build_criterion(compose(f"criterion={name}").criterion, faces, 128)
    assert criterion.name == name.split("/")[-1]
    assert criterion.description
    assert criterion.suppress


@pytest.mark.parametrize("name", sorted({p.stem for p in (CONF / "classifier").glob("*.yaml")} - {"own", "timm"}))
def test_every_classifier_loads(compose, name):
    assert instantiate(compose(f"classifier={name}").classifier)(torch.rand(2, 3, 128, 128)).shape == (2,)


@pytest.mark.parametrize("name", sorted(p.stem for p in (CONF / "trainer").glob("*.yaml")))
def test_every_trainer_composes(compose, name):
    assert compose(f"trainer={name}").trainer.max_epochs == -1


@pytest.mark.parametrize("path", sorted((CONF / "experiment").rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_experiment_composes_and_names_its_command(compose, path):
    package, first = path.read_text().splitlines()[:2]
    assert package == "# @package _global_", "Hydra reads it before any other comment only"
    assert first.startswith("# python -m ice_lightning.run ")
    arguments = [each for each in first.split()[4:] if each != "-m" and "," not in each]
    composed = compose(*arguments)
    assert "experiment" not in composed
    assert composed != compose(), "it must change something"


def test_csv_logger_writes_metrics(compose, quick, tmp_path):
    run(compose(*quick, "latents.count=1", "logger=csv"))
    assert "explained_energy" in (tmp_path / "run" / "csv" / "metrics.csv").read_text()


def test_someone_without_the_region_is_skipped_and_counted(compose, small):
    # Of these three one wears glasses.
    glasses = "criterion.activate.color.term.regions=[eye_g]"
    result = run(compose(*QUICK, small(64), "latents.count=3", glasses))
    assert (result.metrics["people_used"], result.metrics["people_skipped"]) == (1, 2)


SENTENCES = {
    "criterion.activate.color.term.regions=[hairs]": "a region out of .* got 'hairs': did you mean 'hair'",
    "generator.checkpoint=/nowhere/g.safetensors": "a StyleGAN2 generator at /nowhere/g.safetensors, got none",
    "criterion.suppress.residual.ratio=0": r"criterion.suppress.residual.ratio as a number in \(0, 1\], got 0",
    "criterion.activate_ratio=1.5": r"criterion.activate_ratio as a number in \(0, 1\], got 1.5",
    "latents.count=0": r"latents\.count as a whole number of at least 1, got 0",
    "space=x": r"a space out of z, w, w\+, s, got 'x'",
    "task.name=discovr": "task.name as one of discover, .*, got 'discovr': did you mean 'discover'",
    "criterion.activate.color.term.regions=[hat]": r"people who have what .* looks at \(RegionColor hat\), got 2",
    "criterion.suppress.residual.ratio=1e-9": "suppressed terms that leave a direction free, got 48",
    "+criterion.activate.eyes.term={_target_:ice_lightning.criterions.Landmarks,indices:36-70}": (
        "landmark indices from 0 to 67, got '36-70'"
    ),
    "criterion.suppress.residual.term=${criterion.activate.color.term}": "different terms to activate and to suppress",
    "criterion.activate.color.term._target_=nowhere.Term": "a class or function as .*_target_, got 'nowhere.Term'",
    "+criterion.activate.color.weight=0": "criterion.activate.color.weight as a number above 0, got 0",
    "+criterion.activate.logit.term={_target_:ice_lightning.criterions.ClassifierLogit,classifier:null}": (
        "a classifier for ClassifierLogit, got none: add classifier=smiling"
    ),
    "space=z layers=1-2": r"layers in w\+ or s, got layers=1-2 in z",
    "space=w+ layers=4-12": r"layers from 0 to 7 in w\+, got '4-12'",
    "space=s layers=corse": "layers such as 4-8, 32px-, coarse, middle or fine, got 'corse'",
    "faces=pretrained": r"a face parser \(BiSeNet .* 79999_iter.pth .*got no path: set faces.parser",
    "solver=3": "the name of a choice, such as solver=exact, got a value of another type: task=list names them",
    "classifier=null": "the name of a choice, .*: task=list names them, and ~classifier, say, leaves one out",
    "trainer.max_epochs=1": "a trainer that lets the search come to its end, got one that stopped it",
    "trainer=cpuu": "a trainer out of cpu, ddp, ddp_cpu, gpu, got 'cpuu': did you mean 'cpu'",
}


@pytest.mark.parametrize("overrides", SENTENCES)
def test_bad_input_is_told_in_one_sentence_and_exits_with_2(monkeypatch, capsys, quick, tmp_path, overrides):
    monkeypatch.setattr(
        sys, "argv", ["run", *quick, "logger=none", f"hydra.run.dir={tmp_path}/run", *overrides.split()]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert re.match(f"ice_lightning: expected {SENTENCES[overrides]}", told), told


def test_nan_weights_end_with_a_sentence_and_status_2(tmp_path):
    state, config = read_network(ASSETS / "generator.safetensors", "generator")
    G = Generator(**config)
    G.load_state_dict(state)
    G.synthesis.b8.conv0.bias.data[0] = math.nan
    save_network(tmp_path / "g.safetensors", G, "generator", config)
    done = command(f"generator.checkpoint={tmp_path}/g.safetensors", f"hydra.run.dir={tmp_path}/out", cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"ice_lightning: expected finite numbers in synthesis\.b8\.conv0\.bias.*\n", done.stderr)


def test_an_unknown_criterion_names_the_nearest(tmp_path):
    done = command("criterion=skin_colour", cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(
        r"ice_lightning: expected a criterion out of .*got 'skin_colour': did you mean 'skin_color'\?\n",
        done.stderr,
    )


def test_an_unwritable_run_folder(tmp_path):
    (tmp_path / "file").write_text("")
    done = command(f"hydra.run.dir={tmp_path}/file/run", cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(
        r"ice_lightning: expected a run folder that can be written.*: set hydra\.run\.dir.*\n", done.stderr
    )


def test_a_full_disk_is_told(tmp_path):
    """By plain writing, by torch, whose own error hides it, and by safetensors, which only says so."""
    errors = []
    for write in (lambda: Path("/dev/full").write_text("x"), lambda: torch.save(torch.zeros(9999), "/dev/full")):
        with pytest.raises((OSError, RuntimeError)) as raised:
            write()
        errors.append(raised.value)
    errors.append(SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"))
    for error in errors:
        assert sentence(error).startswith("expected room on the disk of the run folder, got none left: free some")
    assert sentence(ValueError("another")) is None


def test_help_names_the_choices(tmp_path):
    line = [sys.executable, "-X", "importtime", "-m", "ice_lightning.run", "--help"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert not re.search(r"\| +torch$", done.stderr, re.MULTILINE)
    assert "skin_color" in done.stdout
    for task in ("traverse", "explain", "verdict", "invert", "list"):
        assert f"ice_lightning.run task={task} " in done.stdout.replace("\n", " ")
    assert done.stdout.index("Exit status") < done.stdout.index("Choices") < done.stdout.index("Settings")
    assert not list(tmp_path.iterdir())


def test_layers_move_only_their_own_coordinates(compose, small, small_generator):
    settings = (*QUICK, small(64), "space=w+", "layers=fine", "latents.count=1")
    directions, generator = run(compose(*settings)).subspace.directions, small_generator
    fine = generator.coordinates("w+", "fine")
    still = torch.ones(len(directions), dtype=torch.bool).index_fill(0, fine, False)
    assert directions.shape[0] == generator.dim("w+")
    assert not directions[still].any()
    assert directions[fine].any(1).sum() > 0.9 * len(fine)


@pytest.mark.parametrize("projection", ["late", "soft", "mixed"])
def test_every_projection_runs_by_its_name(compose, quick, projection):
    late = ["criterion.late=[residual]"] if projection == "mixed" else []
    settings = (*quick, "latents.count=1", "criterion.rank=3", f"criterion.projection={projection}", *late)
    result = run(compose(*settings))
    assert 1 <= result.metrics["rank"] <= 3
    assert result.subspace.provenance["config"]["criterion"]["projection"] == projection


@pytest.mark.slow  # tests/test_docs.py does the same without an interpreter, whose path has the folder
def test_a_term_and_a_preset_of_ones_own_from_another_folder(small, tmp_path):
    page = (CONF.parent / "docs" / "own_term.md").read_text()
    term, preset = re.findall(r"```(?:python|yaml)\n(.*?)```", page, re.DOTALL)
    (tmp_path / "my_terms.py").write_text(term)
    (tmp_path / "my_conf" / "criterion").mkdir(parents=True)
    (tmp_path / "my_conf" / "criterion" / "brightness.yaml").write_text(preset)
    few = (small(32), "space=z", "latents.count=1", "criterion.rank=1", "logger=none")
    done = interpreter("--config-dir=my_conf", "criterion=brightness", *few, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (metrics,) = tmp_path.rglob("metrics.json")
    assert json.loads(metrics.read_text())["rank"] >= 1


def test_a_sweep_over_spaces_ends_in_one_picture_and_page(quick, tmp_path):
    settings = ("experiment=space_comparison", "hydra.sweeper.params.space='w,z'", "latents.count=1")
    done = command(*settings, *quick[2:], f"hydra.sweep.dir={tmp_path}/sweep", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {load_subspace(file).space for file in tmp_path.rglob("subspace.safetensors")} == {"w", "z"}
    picture = Image.open(tmp_path / "sweep" / "comparison.png").convert("L")
    assert np.asarray(picture).std() > 10
    assert "2 runs: " in done.stdout
    page = (tmp_path / "sweep" / "comparison.html").read_text()
    links = re.findall(r'href="([^"#]+/report.html)"', page)
    assert len(links) == 2 and all((tmp_path / "sweep" / link).is_file() for link in links)
    assert "experiment=space_comparison" in page
    records = [read(folder) for folder in tmp_path.glob("sweep/*/wandb")]
    told = [each.run for record in records for each in record if each.WhichOneof("record_type") == "run"]
    assert {each.run_group for each in told} == {"sweep"}
    assert len({each.run_id for each in told}) == 2


class Shifted(RegionColor):
    """Sampled by grid_sample, which has no forward mode."""

    forward_mode = False

    def forward(self, image, analysis):
        axis = torch.linspace(-0.9, 0.9, 64, dtype=image.dtype)
        grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).expand(len(image), -1, -1, -1)
        return super().forward(torch.nn.functional.grid_sample(image, grid, align_corners=False), analysis)


def test_a_term_without_forward_mode_takes_two_backward_passes(compose, quick):
    target = f"criterion.activate.color.term._target_={__name__}.Shifted"
    assert run(compose(*quick, "latents.count=1", target)).metrics["rank"] >= 1


@pytest.mark.parametrize(
    "launcher,seeds", [("joblib", "0,1"), pytest.param("submitit_local", "0,1", marks=pytest.mark.slow)]
)
def test_a_sweep_runs_under_other_launchers(quick, tmp_path, launcher, seeds):
    settings = (*quick, "latents.count=1", f"latents.seed={seeds}", "logger=none", f"hydra/launcher={launcher}")
    local = {"joblib": "hydra.launcher.n_jobs=1", "submitit_local": "hydra.launcher.timeout_min=5"}[launcher]
    done = command("-m", *settings, local, f"hydra.sweep.dir={tmp_path}/sweep", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = [load_subspace(file).provenance["seed"] for file in tmp_path.rglob("subspace.safetensors")]
    assert sorted(found) == [int(each) for each in seeds.split(",")]


def test_the_slurm_launcher_composes():
    settings = ["hydra/launcher=submitit_slurm", "trainer=ddp", "trainer.num_nodes=2"]
    with initialize_config_module("ice_lightning.conf", version_base="1.3"):
        launcher = hydra.compose("config", settings, return_hydra_config=True).hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")


@pytest.mark.slow
def test_ranks_of_a_sweep_belong_to_their_own_job(quick, tmp_path):
    settings = (*quick, "latents.seed=0,1", "logger=none", "trainer=ddp", "trainer.accelerator=cpu")
    done = command("-m", *settings, "trainer.devices=2", f"hydra.sweep.dir={tmp_path}/sweep", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for seed in (0, 1):
        (folder,) = tmp_path.glob(f"sweep/{seed}_*")
        S = load_subspace(folder)
        assert (S.provenance["seed"], S.provenance["people_used"]) == (seed, 2)


def test_a_process_that_is_killed_ends_the_others_with_a_sentence(quick, tmp_path):
    settings = (*quick, "latents.count=200", "trainer=ddp_cpu", "logger=none", f"hydra.run.dir={tmp_path}/out")
    process = Fork(run_main, *settings, cwd=tmp_path)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.running() and len(ranks := children.read_text().split()) < 2:
        time.sleep(0.05)
    os.kill(int(ranks[-1]), signal.SIGKILL)
    done = process.ended(60)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ice_lightning: expected every process to come to its end, got one that was killed")
    assert "SIGKILL" in last


def test_a_generator_in_bfloat16_finds_about_the_same(compose, quick, tmp_path):
    settings = (*quick, "latents.count=1", "criterion.rank=1")
    exactly, roughly = (run(compose(*settings, f"precision={p}")).subspace for p in ("float32", "bfloat16"))
    assert 0 < exactly.angles(roughly).max() < 0.1


@pytest.mark.parametrize(
    "sign,task,status",
    [(signal.SIGINT, "discover", 130), (signal.SIGINT, "invert", 130), (signal.SIGTERM, "discover", 143)],
)
def test_a_signal_ends_with_a_sentence_and_its_status(quick, small, tmp_path, sign, task, status):
    Image.new("RGB", (16, 16)).save(tmp_path / "me.png")
    given = {"discover": [*quick, "latents.count=200"], "invert": ["task=invert", "image=me.png", small(32)]}
    process = Fork(run_main, *given[task], "logger=none", f"hydra.run.dir={tmp_path}/out", cwd=tmp_path)
    # The first that is said: on a slow machine step 1.
    while process.running() and not re.search("^(pass 1, |step )", process.read("stderr"), re.MULTILINE):
        time.sleep(0.05)
    os.kill(process.pid, sign)
    done = process.ended(60)
    assert done.returncode == status
    told = done.stderr
    assert told.splitlines()[-1].startswith("ice_lightning: interrupted: the same command with the same hydra.run.dir")
    assert "Traceback" not in told


def test_ctrl_c_ends_an_interpreter_likewise(quick, tmp_path):
    """Which comes to its end by itself, with what is registered for it."""
    line = [sys.executable, "-m", "ice_lightning.run", *quick, "latents.count=200", "logger=none"]
    process = subprocess.Popen(
        [*line, f"hydra.run.dir={tmp_path}/out"], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while not process.stderr.readline().startswith("pass 1, ") and process.poll() is None:
        pass
    process.send_signal(signal.SIGINT)
    told = process.stderr.read()
    assert process.wait(60) == 130
    assert told.splitlines()[-1].startswith("ice_lightning: interrupted: the same command with the same hydra.run.dir")
    assert "Traceback" not in told


def test_a_reader_who_has_seen_enough_of_the_help_gets_no_traceback(tmp_path):
    line = f"{sys.executable} -m ice_lightning.run --help | head -1"
    done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.count("\n") == 1
    assert not done.stderr
