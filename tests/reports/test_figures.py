import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from ice_lightning.discovery.metrics import RunMetrics
from ice_lightning.reports import figures, pages
from ice_lightning.reports.energies import people, spectrum
from ice_lightning.solvers.stability import Stability
from ice_lightning.synthetic import factor_index, factors_from_z, render


@pytest.fixture(scope="module")
def images():
    """Three people whose true skin tone moves: (3, 5, 3, 64, 64)."""
    factors = factors_from_z(torch.randn(3, 48, generator=torch.Generator().manual_seed(0)))
    columns = []
    for step in (-0.8, -0.4, 0, 0.4, 0.8):
        moved = factors.clone()
        moved[:, factor_index("skin_tone")] = (moved[:, factor_index("skin_tone")] / 5 + step).clamp(-1, 1)
        columns.append(render(moved, 64).image)
    return torch.stack(columns, 1)


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(figures.png(figure))).convert("RGB"))


def test_a_traversal_shows_every_person_at_every_strength(images):
    headings, still = ["a", "b", "original", "c", "d"], images[:, 2:3].repeat(1, 5, 1, 1, 1)
    before = pixels(figures.traversal(still, headings, "skin color"))
    for person, column in ((0, 0), (1, 1), (2, 3), (0, 4)):
        moved = still.clone()
        moved[person, column] = images[person, column]
        assert (pixels(figures.traversal(moved, headings, "skin color")) != before).any(), (person, column)


def test_rows_show_every_picture(images):
    named = [("teacher", images[0]), ("student", images[1])]
    before = pixels(figures.rows(named, "Samples"))
    for column in range(5):
        row = column % 2
        moved = [(name, each.clone()) for name, each in named]
        moved[row][1][column] = images[2, column]
        assert (pixels(figures.rows(moved, "Samples")) != before).any(), (row, column)


def test_an_overview_shows_every_tile_and_image(images):
    tiles = {"space=w": images[0, ::2], "space=s": images[1, ::2], "space=z": images[2, ::2]}
    before = pixels(figures.overview(tiles, "skin color"))
    for column, (name, tile) in enumerate(tiles.items()):
        moved = tile.clone()
        moved[column] = 0
        assert (pixels(figures.overview(tiles | {name: moved}, "skin color")) != before).any(), (name, column)


def test_the_same_run_draws_the_same_picture(images):
    one, two = (figures.png(figures.traversal(images, list("abcde"), "x", ["one", "two", "three"])) for _ in range(2))
    assert one == two


def test_a_name_is_no_formula(images):
    assert figures.png(figures.traversal(images, ["a"] * images.shape[1], r"$\frac{$")).startswith(b"\x89PNG")


def test_a_spectrum_of_one_direction_can_be_drawn():
    assert pixels(spectrum([0.5], [1.0, 0.1, 0.0], 1, "one direction")).std() > 0
    figure = spectrum([0.5], [1.0], 1, "one direction", "deviation")
    assert figure.axes[0].get_ylabel() == "energy per deviation²"


def test_the_page_is_escaped_and_self_contained():
    values = {
        "rank": 2,
        "eigenvalues": [2.0, 1.0],
        "suppressed_rank": 3,
        "latent_dim": 9,
        "coordinates": 9,
        "explained_energy": 0.12345,
        "explained_energy_error": 0.01,
        "people_used": 4,
        "people_skipped": 1,
        "skipped_for_want_of": {"RegionColor <hat>": 1},
        "energy_of_person": {"3": 1.0},
        "odd_people": [3],
        "residual": 0.01,
        "products_per_person": 150,
        "passes": 7,
        "stop": "converged",
        "stopped_early": "",
        "stability": {"angles": [2.0, 40.0], "people_per_half": 4},
        "peak_memory_mb": 812.3,
        "leakage": {"Landmarks <x> & co": 0.001},
        "seconds": {"solve": 1.0},
    }
    metrics = RunMetrics.from_json(values)
    assert json.loads(json.dumps(metrics.to_json())) == values
    page = pages.discovery_page("skin_color", "a <b> c", {"traversal": b"png"}, metrics, "x: <1>")
    assert "a &lt;b&gt; c" in page
    assert "Landmarks &lt;x&gt; &amp; co" in page
    assert "1 for want of RegionColor &lt;hat&gt;" in page
    assert "differ by 2° where they agree most, by 40° in the next pair" in page
    assert "<h1>skin color</h1>" in page
    assert "0.123" in page
    assert "data:image/png;base64,cG5n" in page


def test_a_picture_of_people_shows_each_and_the_angles():
    energies, stability = {0: 1.0, 1: 1.1, 2: 3.0}, Stability((5.0, 20.0), 4)
    before = pixels(people(energies, [], None, "skin color"))
    others = [({**energies, 1: 2.0}, [], None), (energies, [2], None), (energies, [], stability)]
    for arguments in others:
        after = pixels(people(*arguments, "skin color"))
        assert (after != before).any()


def test_a_mark_is_on_its_image_alone():
    images = torch.rand(2, 3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = ["±1 deviations\nheld", "±1 deviations\nnot held"]
    none = [[""] * 3] * 2
    plain, marked = (
        pixels(figures.traversal(images, list("abc"), "x", labels, marks))
        for marks in (none, [none[0], ["", "", "not held"]])
    )
    changed = (plain != marked).any(-1)
    rows, columns = np.where(changed)
    height, width = changed.shape
    assert rows.min() > height / 2 and width / 2 < columns.min() and columns.max() < 0.8 * width
