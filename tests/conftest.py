"""One thread: two OpenMP threads beside another process are slower by far."""

import copy
import os
from contextlib import contextmanager

import pytest
import torch

torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start


@pytest.fixture(scope="session")
def generator():
    from ice_lightning import load_generator

    return load_generator("embedded")


@pytest.fixture(scope="session")
def faces():
    from ice_lightning.faces.embedded import embedded_faces

    return embedded_faces()


@pytest.fixture(scope="session")
def faces64(faces):
    return copy.deepcopy(faces).double()


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Side -> the setting of a generator of smaller portraits, see toys.truncated."""
    from toys import truncated

    folder, made = tmp_path_factory.mktemp("generators"), {}

    def setting(side):
        if side not in made:
            made[side] = truncated(folder / f"{side}.safetensors", side)
        return f"generator.checkpoint={made[side]}"

    return setting


@pytest.fixture(scope="session")
def small_generator(small):
    """The one of 64 px."""
    from ice_lightning import load_generator

    return load_generator(small(64).partition("=")[2])


@pytest.fixture(scope="session")
def generator64(small_generator):
    return copy.deepcopy(small_generator).double()


@pytest.fixture(scope="session")
def few_read():
    """-> a context in which explanations learn from 8 people instead of 64 by how much readings of faces differ."""
    from ice_lightning.explanation import clean

    @contextmanager
    def context():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(clean, "PEOPLE", 8)
            yield

    return context


@pytest.fixture
def few_pairs(monkeypatch, few_read):
    """Explanations draw 8 people instead of 64 to learn when the identity network takes two pictures for one person.

    And by how much readings of faces differ.
    """
    from ice_lightning.metrics import verification

    monkeypatch.setattr(verification, "PEOPLE", 8)
    with few_read():
        yield


@pytest.fixture
def compose(tmp_path):
    """Overrides -> a composed config whose run folder is the test's own."""
    from hydra import compose, initialize_config_module

    def make(*overrides):
        with initialize_config_module("ice_lightning.conf", version_base="1.3"):
            return compose("config", [f"run_dir={tmp_path / 'run'}", "logger=none", *overrides])

    return make


def pytest_collection_modifyitems(items):
    """The longest first, lest at the end one worker waits for the other."""
    items.sort(key=lambda item: "test_what_a_page_says" not in item.nodeid)


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
