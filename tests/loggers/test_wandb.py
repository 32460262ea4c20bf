"""What W&B is told, read back from the offline record itself, record by record."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
import wandb
from hydra.errors import InstantiationException
from records import read

from ice_lightning import load_subspace
from ice_lightning.checks import IceError
from ice_lightning.loggers import dashboard
from ice_lightning.loggers.upload import CLOSED, UPLOAD_LOG, upload
from ice_lightning.run import run

QUICK = ("space=w", "latents.count=2", "criterion=paper/skin_color", "criterion.suppress.residual.ratio=0.2")
EXPLAIN = (
    "task=explain",
    "explain.people=2",
    "explain.controls={subspaces: 10, weights: false, unrestricted: false}",
    "space=w",
    "classifier=smiling",
    "counterfactual=line",
)


@pytest.fixture(scope="module")
def quick(small):
    return *QUICK, small(32), "criterion.rank=2"


@pytest.fixture(scope="module")
def runs(tmp_path_factory, quick, small):
    """A discovery, an explanation with what it found, and the verdict: their folders."""
    from hydra import compose, initialize_config_module

    top = tmp_path_factory.mktemp("runs")
    torch.set_num_threads(1)

    def once(name, *settings):
        with initialize_config_module("ice_lightning.conf", version_base="1.3"):
            run(compose("config", [f"run_dir={top / name}", *settings]))
        return top / name

    discovery = once("discovery", *quick, "logger.group=some")
    explanation = once("explained/one", *EXPLAIN, small(32), f"subspace={discovery}")
    return discovery, explanation, once("verdict", "task=verdict", f"runs={top / 'explained'}")


def of(kind, folder):
    return [getattr(each, kind) for each in read(folder) if each.WhichOneof("record_type") == kind]


def history(folder):
    def name(item):
        return "/".join(item.nested_key) or item.key

    return [{name(item): json.loads(item.value_json) for item in each.item} for each in of("history", folder)]


def last(folder, key):
    return [each[key] for each in history(folder) if key in each][-1]


def test_a_record_begins_with_the_settings_and_ends(runs):
    discovery, *_ = runs
    kinds = [each.WhichOneof("record_type") for each in read(discovery)]
    assert kinds[0] == "header"
    assert kinds.count("run") == kinds.count("exit") == 1
    (told,) = of("run", discovery)
    assert (told.project, told.job_type, told.run_group, told.display_name) == (
        "ice_lightning", "discover", "some", "skin_color",
    )  # fmt: skip
    assert list(told.tags) == ["skin_color", "space w"]
    config = {item.key: json.loads(item.value_json) for each in of("config", discovery) for item in each.update}
    assert config["latents"]["count"] == 2
    assert config["criterion"]["suppress"]["residual"]["ratio"] == 0.2
    assert kinds.index("config") < kinds.index("history"), "settings are there while the run goes on"
    assert of("exit", discovery)[0].exit_code == 0


def test_every_pass_tells_its_residual_and_energy(runs):
    discovery, *_ = runs
    passes = [each for each in history(discovery) if "pass/energy" in each]
    metrics = json.loads((discovery / "metrics.json").read_text())
    assert [each["trainer/global_step"] for each in passes] == list(range(metrics["passes"]))
    assert "pass/residual" not in passes[0], "no pair is wanted before the first answer"
    residuals = [each["pass/residual"] for each in passes[1:]]
    assert residuals[-1] == metrics["residual"] < residuals[0]
    energies = list(metrics["energy_of_person"].values())
    assert passes[-1]["pass/energy"] == pytest.approx(sum(energies) / len(energies))
    assert sum(each["pass/products_per_person"] for each in passes) == metrics["products_per_person"]


def test_numbers_and_pictures(runs):
    discovery, explanation, _ = runs
    metrics = json.loads((discovery / "metrics.json").read_text())
    assert last(discovery, "explained_energy") == metrics["explained_energy"]
    for name in ("traversal", "spectrum", "people"):
        (file,) = last(discovery, f"{name}/filenames")
        (kept,) = discovery.glob(f"wandb/offline-run-*/files/{file}")
        assert kept.read_bytes() == (discovery / f"{name}.png").read_bytes()
    metrics = json.loads((explanation / "metrics.json").read_text())
    assert last(explanation, "flip_rate") == metrics["flip_rate"]
    assert last(explanation, "control/random") == metrics["random"]["random_rate"]


def test_a_row_for_each_person_and_subspace_with_pictures(runs):
    discovery, explanation, verdict = runs
    expected = {
        discovery: ("table/people", 2, {"person", "criterion", "energy", "minus", "original", "plus"}),
        explanation: ("table/people", 2, {"person", "criterion", "flipped", "effort", "original", "counterfactual"}),
        verdict: ("table/verdict", 1, {"classifier", "criterion", "flip_rate", "low", "high", "control/random"}),
    }
    for folder, (name, rows, columns) in expected.items():
        path = last(folder, f"{name}/path")
        (file,) = folder.glob(f"wandb/offline-run-*/files/{path}")
        table = json.loads(file.read_text())
        assert len(table["data"]) == rows
        assert columns <= set(table["columns"])
        pictures = next(each for each in of("artifact", folder) if each.type == "run_table").manifest.contents
        assert len([each for each in pictures if each.path.endswith(".png")]) == (0 if folder == verdict else 3 * rows)


def test_artifacts_tell_what_was_made_of_what(runs):
    """Generator -> subspace -> explanation -> verdict: what one run makes another takes, told by the same content."""
    made, taken = [], []
    for folder in runs:
        own = [each for each in of("artifact", folder) if each.type != "run_table"]
        made.append({each.name: each.digest for each in own if not each.use_after_commit})
        taken.append({each.name: each.digest for each in own if each.use_after_commit})
        for each in own:
            for file in each.manifest.contents:
                assert str(folder) in file.local_path, "a record that is carried elsewhere has its artifacts with it"
    generator = next(iter(taken[0]))
    assert generator.startswith("generator-")
    assert [list(each) for each in made] == [["subspace-skin_color"], ["explanation-smiling-skin_color"], ["verdict"]]
    assert taken[1] == taken[0] | made[0]
    assert taken[2] == made[1]


def test_the_next_run_has_a_record_of_its_own(runs):
    assert wandb.run is None
    assert len({of("run", folder)[0].run_id for folder in runs}) == 3
    for folder in runs:
        assert list(folder.glob(f"wandb/offline-run-*/{CLOSED}"))


def test_a_run_that_fails_says_so_in_its_record(compose, quick, tmp_path):
    with pytest.raises(IceError):
        run(compose(*quick, "logger=wandb", "criterion.suppress.residual.ratio=1e-9"))
    assert of("exit", tmp_path / "run")[0].exit_code == 1
    assert wandb.run is None


def test_a_dead_server_changes_nothing(compose, quick, tmp_path, monkeypatch, runs, caplog):
    """The upload is another process's; here it finds nobody, and gives up once its patience ends."""
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with caplog.at_level("INFO", "ice_lightning"):
        found = run(compose(*quick, "logger=wandb", "logger.mode=online")).subspace
    assert torch.equal(found.directions, load_subspace(runs[0]).directions)
    (record,) = (tmp_path / "run").glob("wandb/offline-run-*")
    assert str(record / UPLOAD_LOG) in caplog.text
    (uploader,) = [number for number, command in processes() if f"ice_lightning.loggers.upload {record}" in command]
    os.kill(uploader, signal.SIGKILL)
    for number, command in processes():
        if f"beta sync --live --yes {record}" in command:
            os.killpg(number, signal.SIGKILL)
    assert not upload(record, writer=uploader, patience=3.0)
    assert "expected an upload within 3 s, got none: try `wandb sync" in caplog.text


def processes():
    """Number and command line of every process."""
    told = subprocess.run(["ps", "-eww", "-o", "pid,args"], capture_output=True, text=True, check=True).stdout
    rows = (line.split(maxsplit=1) for line in told.splitlines()[1:])
    return [(int(number), " ".join(command)) for number, *command in rows]


def test_online_without_an_account_is_told_before_anything_is_computed(compose, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(InstantiationException, match="a Weights & Biases account, got none: run `wandb login` first"):
        run(compose(*QUICK, "logger=wandb", "logger.mode=online"))
    with pytest.raises(
        InstantiationException, match=r"a logger\.mode out of offline, online, got 'onlin': did you mean 'online'"
    ):
        run(compose(*QUICK, "logger=wandb", "logger.mode=onlin"))


def test_the_dashboard_shows_what_runs_log(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dashboard", "--offline", str(tmp_path / "spec.json"), "--project", "mine"])
    assert dashboard.main() == 0
    spec = json.loads((tmp_path / "spec.json").read_text())
    assert spec["project"] == "mine"
    logged = {key.split("/filenames")[0].split("/path")[0] for f in runs for each in history(f) for key in each}
    sections = spec["spec"]["section"]["panelBankConfig"]["sections"]
    configs = [panel["config"] for section in sections for panel in section["panels"]]
    shown = {key for each in configs for key in each.get("mediaKeys", []) + each.get("metrics", [])}
    assert {"verdict", "traversal", "pass/residual", "flip_rate"} <= shown
    of_who_flips = {"counterfactuals", "effort", "identity_cosine", "mnac"}  # here nobody does
    assert shown - of_who_flips <= logged | {"trainer/global_step"}
    tables = json.dumps(configs)
    assert '"table/people"' in tables
    assert '"table/verdict"' in tables
