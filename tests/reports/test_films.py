import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from ice_lightning.checkpoints.generators import generator_of
from ice_lightning.checks import IceError
from ice_lightning.discovery.local import UNSETTLED
from ice_lightning.reports.films import film, side_by_side, there_and_back, write_gif, write_mp4
from ice_lightning.run import run
from ice_lightning.subspace import Subspace, load_subspace

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
SUBSPACE = ROOT / "ice_lightning/assets/subspaces/hair_color.safetensors"


def test_a_round_begins_in_the_middle_and_passes_both_ends():
    strengths = there_and_back(2.0, 8)
    assert strengths[0] == 0
    assert max(strengths) == 2
    assert min(strengths) == -2
    assert strengths[1] == pytest.approx(strengths[3])
    with pytest.raises(IceError, match=r"traverse\.frames of at least 4, got 3"):
        there_and_back(1.0, 3)


def test_people_stand_side_by_side_on_an_even_canvas():
    images = torch.stack([torch.zeros(3, 5, 5), 0.5 * torch.ones(3, 5, 5), 2 * torch.ones(3, 5, 5)])
    frame = side_by_side(images)
    assert frame.shape == (6, 24, 3)
    assert frame[:5, :5].eq(0).all()
    assert frame[:5, 9:14].eq(128).all()
    assert frame[5].eq(255).all()


def test_each_strength_is_drawn_once():
    drawn = []

    def draw(strength):
        drawn.append(strength)
        return torch.full((1, 3, 4, 4), 0.5 + strength)

    frames = film(draw, there_and_back(0.4, 12))
    assert len(drawn) == len(set(drawn)) == 7
    assert frames[3].max() == round(0.9 * 255)
    assert torch.equal(frames[1], frames[5])


def shades(count=6):
    return torch.stack([side_by_side(torch.full((2, 3, 16, 16), i / count)) for i in range(count)])


def test_a_gif_holds_every_frame_and_repeats(tmp_path):
    frames = shades()
    write_gif(frames, tmp_path / "a.gif", 20)
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.n_frames, gif.info["loop"], gif.info["duration"]) == (6, 0, 50)
        for i, frame in enumerate(frames):
            gif.seek(i)
            seen = torch.tensor(list(gif.convert("RGB").tobytes())).view(frame.shape)
            assert (seen - frame.int()).abs().max() <= 2
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_an_mp4_is_what_players_take(tmp_path):
    assert write_mp4(shades(), tmp_path / "a.mp4", 12, rounds=2)
    assert (tmp_path / "a.mp4").read_bytes()[4:8] == b"ftyp"


def test_without_ffmpeg_there_is_no_mp4_and_a_broken_one_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not write_mp4(shades(), tmp_path / "a.mp4", 12)
    (tmp_path / "ffmpeg").write_text(f"#!{sys.executable}\nimport sys\nsys.exit('Unknown encoder libx264')\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    with pytest.raises(
        IceError, match=r"ffmpeg to write H\.264, got Unknown encoder libx264: install one with libx264"
    ):
        write_mp4(shades(), tmp_path / "a.mp4", 12)
    assert not list(tmp_path.glob("*.mp4"))


def test_a_run_leaves_films_and_sheets(tmp_path, compose):
    few = ("traverse.people=1", "traverse.directions=1", "traverse.frames=4", "traverse.strength=4")
    result = run(compose("task=traverse", f"subspace={SUBSPACE}", *few))
    assert {"direction0.gif", "direction0.png"} <= set(result.metrics["files"])
    assert result.metrics["strengths"] == {"direction0": 4}
    assert (result.folder / "sheet.png").stat().st_size > 10_000
    with pytest.raises(IceError, match="the run folder of a discovery, got none: set subspace=DIR"):
        run(compose("task=traverse"))


@pytest.fixture(scope="module")
def found(small, tmp_path_factory):
    """A discovery of smaller portraits, and its run folder."""
    from hydra import compose, initialize_config_module

    folder = tmp_path_factory.mktemp("found")
    with initialize_config_module("ice_lightning.conf", version_base="1.3"):
        given = ["criterion=hair_color", "latents.count=1", "geometry=population", small(64), "logger=none"]
        return run(compose("config", [*given, f"run_dir={folder}"]))


def test_a_discovery_shows_people_along_directions_of_their_own(found):
    rows = found.metrics["held_out"]
    assert len(rows) == 4
    assert all(row["own"] and row["agreement"] > 0.5 and row["residual"] <= UNSETTLED for row in rows)
    assert len({row["strength"] for row in rows}) == 4, "each to where their own change is plain to see"
    page = (found.folder / "report.html").read_text()
    assert "each along their own strongest direction" in page
    assert page.count(f"agreement {rows[0]['agreement']:.2f}; ") >= 1


FEW = ("traverse.directions=1", "traverse.frames=4")


def test_people_are_walked_along_directions_of_their_own_and_held(found, small, compose, tmp_path):
    given = ("task=traverse", f"subspace={found.folder}", *FEW)
    own = run(compose(*given, "traverse.people=2", f"run_dir={tmp_path}/own")).metrics
    rows = own["people"]["direction0"]
    assert [row["own"] for row in rows] == [True, True]
    assert own["strengths"]["direction0"] == pytest.approx(sum(row["strength"] for row in rows) / 2)
    assert rows[0]["reach"] == {}
    held = run(compose(*given, "traverse.people=1", "held=true", f"run_dir={tmp_path}/held")).metrics
    (row,) = held["people"]["direction0"]
    assert row["strength"] == pytest.approx(rows[0]["strength"], rel=1e-3), "that of the straight move"
    for side in row["reach"].values():
        assert (abs(side["held_up_to"]) == pytest.approx(row["strength"])) == (side["not_held_at"] is None)


def test_everyone_is_walked_along_the_average_where_it_is_asked_or_there_is_nothing_else(
    found, compose, tmp_path, caplog
):
    given = ("task=traverse", *FEW, "traverse.people=1", "traverse.strength=1")
    asked = run(compose(*given, f"subspace={found.folder}", "local=false", f"run_dir={tmp_path}/asked"))
    assert asked.metrics["people"] == {} and not caplog.messages
    config = found.subspace.provenance["config"]
    criterion = {**config["criterion"], "activate": {"x": {"term": {"_target_": "os.abort"}}}}
    foreign = found.subspace.provenance | {"config": {**config, "criterion": criterion}}
    files = {
        "a subspace with what its search has left": replace(found.subspace, charges=None),
        "criterion of the package's own parts in the subspace's file, got os.abort": replace(
            found.subspace, provenance=foreign
        ),
    }
    for sentence, subspace in files.items():
        caplog.clear()
        subspace.save(tmp_path / "subspace.safetensors")
        other = run(compose(*given, f"subspace={tmp_path}", f"run_dir={tmp_path}/other"))
        assert other.metrics["people"] == {}
        (said,) = caplog.messages
        assert said.startswith(f"everyone moves along the average's directions: expected {sentence}")
        with pytest.raises(IceError, match=re.escape(sentence)):
            run(compose(*given, f"subspace={tmp_path}", "held=true", f"run_dir={tmp_path}/other"))
    with pytest.raises(IceError, match="own directions, which moves are held along, got local=false"):
        run(compose(*given, f"subspace={tmp_path}", "held=true", "local=false"))


def test_a_subspace_of_a_generator_that_changed_is_refused():
    S = load_subspace(SUBSPACE)
    assert generator_of(S).fingerprint == S.provenance["generator_sha256"]
    other: Subspace = replace(S, provenance=S.provenance | {"generator_sha256": "0" * 64})
    with pytest.raises(IceError, match=r"a subspace of this generator \(.*\), got one of embedded \(000000000000\)"):
        generator_of(other)


def test_the_list_names_everything_and_imports_no_torch(tmp_path):
    code = "import sys; from ice_lightning.run import main; main(); sys.exit('torch' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code, "task=list"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert ran.returncode == 0, ran.stderr
    for group in ("criterion", "classifier", "faces"):
        for file in (CONF / group).glob("*.yaml"):
            (line,) = [each for each in ran.stdout.splitlines() if each.split()[:1] == [file.stem]][:1]
            assert len(line.split()) > 1, f"{group}={file.stem} says nothing"
    assert not list(tmp_path.iterdir())
