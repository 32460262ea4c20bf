"""The explorer: what it draws and saves, and that its server answers its own page alone."""

import http.client
import io
import json
import os
import socket
import subprocess
import sys
import zipfile
from contextlib import nullcontext
from dataclasses import replace
from urllib.parse import quote

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ice_lightning.checkpoints.generators import CHECKPOINT
from ice_lightning.checks import IceError
from ice_lightning.classifiers import embedded_classifier
from ice_lightning.explore import cli as explore
from ice_lightning.explore.cli import arguments, chosen, explorer_of, main, pictures, subspace_files
from ice_lightning.explore.model import archive, build, check_person, drawn, edit, person, pixels
from ice_lightning.latents import LatentDataModule, read_latents
from ice_lightning.population import POPULATION
from ice_lightning.reports.figures import difference
from ice_lightning.subspace import Subspace, load_subspace
from ice_lightning.traversal import VISIBLE, most_changed


def save_subspace(folder, generator, criterion, seed, fingerprint=None):
    draw = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(torch.randn(generator.dim("s"), 2, generator=draw)).Q
    made = {"generator": "embedded", "generator_sha256": fingerprint or generator.fingerprint}
    made |= {"criterion": criterion, "config": {"generator": {"_target_": CHECKPOINT}}}
    Subspace(directions, torch.tensor([2.0, 1.0]), "s", made).save(folder / "subspace.safetensors")


@pytest.fixture(scope="module")
def run(generator, tmp_path_factory):
    """A folder with two discoveries, and an inversion beside them whose second picture has an odd name."""
    folder = tmp_path_factory.mktemp("runs")
    save_subspace(folder / "0", generator, "hair_<b>", 0)
    save_subspace(folder / "1", generator, "mouth_shape", 1)
    facts = {"space": "s", "generator_sha256": generator.fingerprint, "names": ["ada", "../<i>"]}
    (folder / "inverted").mkdir()
    u = generator.convert(generator.sample(2, 70), "z", "s").detach()
    save_file({"u": u}, folder / "inverted" / "latents.safetensors", {"latents": json.dumps(facts)})
    (folder / "secret.txt").write_text("SECRET")
    (folder / "link.txt").symlink_to(folder / "secret.txt")
    return folder


@pytest.fixture(scope="module")
def explorer(run):
    return explorer_of(arguments([str(run), "--directions", "1"]), subspace_files([run]))


def test_what_the_runs_hold_is_shown(explorer, run):
    assert [slider.name for slider in explorer.sliders] == ["hair <b> 0", "mouth shape 0"]
    assert list(explorer.people) == ["ada", "../<i>"]
    assert set(explorer.classifiers) == {"smiling", "smiling_biased", "narrow_eyes", "glasses"}
    assert all(slider.limit >= max(slider.visible, 3) for slider in explorer.sliders)
    saved = read_latents(run / "inverted" / "latents.safetensors")
    assert torch.equal(person(explorer, "../<i>", 0), saved.u[1:])


@torch.no_grad()
def test_a_slider_counts_deviations_of_the_population(explorer, generator, run):
    subspace = load_subspace(run / "1")
    U = generator.convert(generator.sample(POPULATION), "z", "s")
    sigma = float((U @ subspace.directions[:, 0]).std())
    torch.testing.assert_close(edit(explorer, U[:3], [0, 1.5]), subspace.edit(U[:3], 0, 1.5 * sigma))
    both = subspace.edit(edit(explorer, U[:3], [-2, 0]), 0, sigma)
    torch.testing.assert_close(edit(explorer, U[:3], [-2, 1]), both)


@torch.no_grad()
def test_a_preset_is_where_a_change_is_plain_to_see(explorer, generator):
    u = generator.convert(generator.sample(2), "z", "s")
    original = generator(u, "s").clamp(0, 1)
    for sign in torch.eye(2):
        moves = [float(s) * slider.visible for s, slider in zip(sign, explorer.sliders, strict=True)]
        sides = [generator(edit(explorer, u, [side * move for move in moves]), "s").clamp(0, 1) for side in (-1, 1)]
        change = torch.stack([most_changed(side, original) for side in sides]).mean()
        assert float(change) == pytest.approx(VISIBLE, rel=0.05)


def test_sliders_are_the_same_however_long_directions_are(explorer, generator, run):
    subspace = load_subspace(run / "1").strongest(1)
    one, three = (
        build(generator, {"mouth": replace(subspace, directions=scale * subspace.directions)}, {}, {})
        for scale in (1, 3)
    )
    torch.testing.assert_close(three.basis, one.basis)
    assert three.sliders[0].visible == pytest.approx(one.sliders[0].visible, abs=0.2)
    assert three.sliders[0].unit == pytest.approx(one.sliders[0].unit / 3)


def test_sliders_end_at_their_limits(explorer):
    u, limits = person(explorer, "", 3), [slider.limit for slider in explorer.sliders]
    assert torch.equal(edit(explorer, u, [1e9, -1e9]), edit(explorer, u, [limits[0], -limits[1]]))


@pytest.mark.parametrize("moves", [[float("nan"), 0], [float("inf"), 0], ["1", 0], [None, 0], [0], [0, 0, 0]])
def test_other_than_a_finite_number_for_each_slider_is_refused(explorer, moves):
    with pytest.raises(IceError, match=r"expected 2 finite numbers, one for each slider, got .*: reset"):
        edit(explorer, person(explorer, "", 0), moves)


@pytest.mark.parametrize("seed", [-1, 2**31, 0.5, None, "1", [1]])
def test_other_than_a_seed_is_refused(explorer, seed):
    with pytest.raises(IceError, match=r"expected a seed from 0 to 2147483647, got .*: type a whole number"):
        check_person(explorer, "", seed)


def test_a_person_at_rest_is_the_original(explorer, generator):
    u = person(explorer, "", 5)
    original, shown = drawn(explorer, u), drawn(explorer, edit(explorer, u, [0, 0]))
    with torch.no_grad():
        image = generator(generator.sample(1, 5), "z").clamp(0, 1)
        scores = [torch.sigmoid(embedded_classifier(name)(image))[0] for name in explorer.classifiers]
    torch.testing.assert_close(original.image, image[0])
    torch.testing.assert_close(original.scores, torch.stack(scores))
    assert torch.equal(shown.image, original.image)
    black = np.unique(difference(shown.image, original.image).reshape(-1, 3), axis=0)
    assert black.tolist() == [[0, 0, 3]]  # where magma begins
    assert difference(torch.ones(3, 2, 2), torch.zeros(3, 2, 2))[0, 0].tolist() == [251, 252, 191]  # and where it ends


def test_an_edit_is_saved_for_the_other_tasks(explorer, generator, tmp_path):
    shown = drawn(explorer, edit(explorer, person(explorer, "ada", 0), [1, -2]))
    with zipfile.ZipFile(io.BytesIO(archive(explorer, shown, "ada, moved"))) as packed:
        packed.extractall(tmp_path)
    saved = read_latents(tmp_path / "latents.safetensors")
    assert torch.equal(saved.u, shown.u)
    assert (saved.space, saved.generator_sha256, saved.names) == ("s", generator.fingerprint, ("ada, moved",))
    assert torch.equal(LatentDataModule(generator, "s", 1, file=tmp_path / "latents.safetensors").latents, shown.u)
    with Image.open(tmp_path / "edit.png") as picture:
        assert np.array_equal(np.asarray(picture), pixels(shown.image))


def test_nothing_to_show_is_told(tmp_path, capsys):
    assert main([str(tmp_path), "--port", str(free_port())]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told == [
        f"ice_lightning: expected a subspace, got none in {tmp_path}: "
        "run python -m ice_lightning.run criterion=skin_color first"
    ]
    with pytest.raises(IceError, match=r"folders of runs, got no folder at .*nowhere: check the path"):
        subspace_files([tmp_path / "nowhere"])


def test_without_any_run_the_package_shows_its_own(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "ice_lightning")
    monkeypatch.chdir(tmp_path)
    assert "hair color" in dict(chosen(subspace_files([]), newest=True))
    assert "that ship with the package" in caplog.text


def test_without_runs_the_newest_of_each_criterion_is_shown(generator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, criterion in enumerate(["gaze", "gaze", "pose"]):
        save_subspace(tmp_path / "outputs" / f"{i}", generator, criterion, i)
        os.utime(tmp_path / "outputs" / f"{i}" / "subspace.safetensors", (i, i))
    newest = dict(chosen(subspace_files([]), newest=True))
    assert list(newest) == ["pose", "gaze"]
    assert torch.equal(newest["gaze"].directions, load_subspace("outputs/1").directions)
    assert list(dict(chosen(subspace_files([tmp_path]), newest=False))) == [
        "gaze",
        f"gaze ({tmp_path}/outputs/1)",
        "pose",
    ]


def test_subspaces_of_another_generator_are_left_out_and_told(generator, tmp_path, caplog):
    caplog.set_level("INFO", "ice_lightning")
    save_subspace(tmp_path / "a", generator, "gaze", 0)
    save_subspace(tmp_path / "b", generator, "pose", 1, fingerprint="0" * 64)
    assert list(dict(chosen(subspace_files([tmp_path]), newest=False))) == ["gaze"]
    assert "left out" in caplog.text


def test_latents_that_dont_fit_are_refused_or_left_out(generator, run, tmp_path, caplog):
    caplog.set_level("INFO", "ice_lightning")
    subspace = load_subspace(run / "0")
    for sha, told in ((generator.fingerprint, r"latents of shape \(1, 1408\) in .*, got \(1, 7\)"), ("0" * 64, None)):
        facts = {"space": "s", "generator_sha256": sha, "names": ["ada"]}
        save_file({"u": torch.zeros(1, 7)}, tmp_path / "latents.safetensors", {"latents": json.dumps(facts)})
        with pytest.raises(IceError, match=told) if told else nullcontext():
            assert pictures([tmp_path / "latents.safetensors"], subspace) == {}
    assert "left out" in caplog.text


def test_help_needs_nothing_heavy_and_no_gradio_is_told(run):
    help_only = "import sys; from ice_lightning.explore.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    light = f"{help_only}\nsys.exit(any(name in sys.modules for name in ('torch', 'gradio')))"
    assert subprocess.run([sys.executable, "-c", light], check=False, stdout=subprocess.DEVNULL).returncode == 0
    without = "import sys; sys.modules['gradio'] = None\nfrom ice_lightning.explore.cli import main; "
    without += "sys.exit(main(sys.argv[1:]))"
    told = subprocess.run(
        [sys.executable, "-c", without, str(run), "--port", str(free_port())],
        check=False,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 2
    assert told.stderr.endswith('pip install "ice_lightning[ui]"\n')


def test_a_port_in_use_and_half_an_auth_are_told(capsys, monkeypatch):
    monkeypatch.setattr(explore, "getpass", lambda prompt: "")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["--port", str(taken.getsockname()[1])]) == 2
    assert main(["--port", str(free_port()), "--auth", "user"]) == 2
    told = capsys.readouterr().err
    assert "expected a free port" in told
    assert "expected --auth USER:PASSWORD" in told


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port, path, method="GET", body=None, **headers):
    """Status, headers and body; the path is sent as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def call(port, *data, function="frame", **headers):
    headers = {"Content-Type": "application/json", **headers}
    return ask(port, f"/gradio_api/run/{function}", "POST", json.dumps({"data": data}), **headers)


@pytest.fixture(scope="module")
def port(explorer, run):
    """Of a server that was started in the folder of the runs, where files by path are tempting."""
    from ice_lightning.explore.page import serve

    number = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run)
        blocks = serve(explorer, number, wait=False)
        yield number
        blocks.close(verbose=False)


@pytest.fixture(scope="module")
def locked(explorer):
    """Of a server that asks for a password."""
    from ice_lightning.explore.page import serve

    number = free_port()
    blocks = serve(explorer, number, ("ada", "pass:word"), wait=False)
    yield number
    blocks.close(verbose=False)


def test_a_frame_by_http_is_what_the_functions_make(port, explorer):
    from ice_lightning.explore.page import view

    status, _, body = call(port, "ada", 0, 1, -1.5)
    assert status == 200
    original = drawn(explorer, person(explorer, "ada", 0))
    shown = drawn(explorer, edit(explorer, original.u, [1, -1.5]))
    assert json.loads(body)["data"] == [view(explorer, original, shown)]


def test_the_view_asks_for_nothing_and_marks_who_flips(explorer):
    from ice_lightning.explore.page import view

    original = drawn(explorer, person(explorer, "", 0))
    page = view(explorer, original, original._replace(scores=1 - original.scores))
    assert page.count("<img") == page.count('src="data:image/jpeg;base64,') == page.count("alt=") == 3
    assert page.count("class=flips") == 4
    assert "class=flips" not in view(explorer, original, original)


def test_the_page_is_there_and_may_fetch_from_itself_alone(port):
    status, headers, body = ask(port, "/")
    assert status == 200
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert b"hair \\u003cb" in body or b"hair <b> 0" in body  # in its JSON
    for elsewhere in (b"fonts.googleapis", b"fonts.gstatic", b"huggingface.co/front"):
        assert elsewhere not in body


@pytest.mark.parametrize("file", ["secret.txt", "link.txt", "0/subspace.safetensors", "/etc/passwd"])
@pytest.mark.parametrize(
    "route",
    ["/gradio_api/file=", "/file=", "/gradio_api/file/", "/gradio_api/stream/", "/static/", "/assets/", "/svelte/"],
)
def test_no_file_is_served(port, run, route, file):
    absolute = file if file.startswith("/") else f"{run}/{file}"
    up = "../" * 12 + absolute.lstrip("/")
    for path in (file, absolute, up, quote(up, safe=""), up.replace("../", "..%2f"), quote(quote(absolute, safe=""))):
        status, _, body = ask(port, f"{route}{path}")
        assert status in (403, 404), path
        assert b"SECRET" not in body
        assert b"root:" not in body
        assert b"provenance" not in body


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=http://127.0.0.1/", "/gradio_api/proxy=http://127.0.0.1/", "/gradio_api/component_server",
        "/gradio_api/queue/data", "/gradio_api/runs", "/gradio_api/vibe-code", "/gradio_api/deep_link", "/monitoring",
        "/monitoring/summary", "/gradio_api/run-history/buckets", "/gradio_api/token", "/docs",
        "/gradio_api/openapi.json",
    ],
)  # fmt: skip
def test_what_the_page_needs_not_is_not_there(port, path):
    assert ask(port, path)[0] == 404


def test_nothing_can_be_uploaded(port):
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\nUPLOADED\r\n--x--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert ask(port, "/gradio_api/upload", "POST", body, **kind)[0] == 404


@pytest.mark.parametrize("value", [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, ["ada"]])
def test_a_path_instead_of_a_value_never_reaches_gradio(port, value):
    for data in ([value, 0, 0, 0], ["", value, 0, 0], ["", 0, value, 0]):
        assert call(port, *data)[0] == 400
    assert call(port, "x" * 70_000, 0, 0, 0)[0] == 400
    assert ask(port, "/gradio_api/run/frame", "POST", "[" * 30_000)[0] == 400


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (["nobody", 0, 0, 0], "expected a picture out of ada"),
        (["../../etc/passwd", 0, 0, 0], "expected a picture out of ada"),
        (["", -1, 0, 0], "expected a seed from 0"),
        (["", 2**40, 0, 0], "expected a seed from 0"),
        (["", 0, float("nan"), 0], "expected 2 finite numbers"),
        (["", 0, float("inf"), 0], "expected 2 finite numbers"),
        (["", 0, "x", 0], "expected 2 finite numbers"),
    ],
)
def test_bad_values_are_told_in_a_sentence(port, data, sentence):
    status, _, body = call(port, *data)
    assert status == 500
    assert json.loads(body)["error"].startswith(sentence)


def test_huge_moves_are_held_within_the_range(port, explorer):
    held = [slider.limit for slider in explorer.sliders]
    huge, there = call(port, "", 0, 1e300, 1e300), call(port, "", 0, *held)
    assert json.loads(huge[2])["data"] == json.loads(there[2])["data"]


def test_other_names_for_this_machine_are_refused(port):
    assert ask(port, "/", Host="example.com")[0] == 400
    assert ask(port, "/", Host="localhost")[0] == 200


def test_who_has_no_password_sees_and_calls_nothing(locked):
    assert call(locked, "", 0, 0, 0)[0] == 401
    assert ask(locked, "/gradio_api/info")[0] == 401
    assert b"mouth shape" not in ask(locked, "/")[2]
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert ask(locked, "/login", "POST", "username=ada&password=wrong", **form)[0] == 400
    status, headers, _ = ask(locked, "/login", "POST", "username=ada&password=pass%3Aword", **form)
    assert status == 200
    cookies = "; ".join(value.partition(";")[0] for value in headers.get_all("set-cookie"))
    assert call(locked, "", 0, 0, 0, Cookie=cookies)[0] == 200
