"""Files from before classes moved go on being understood."""

import hashlib
import json
import pkgutil

import pytest
import torch
from safetensors.torch import save_file

from ice_lightning.explanation.rows import ROWS, read_rows
from ice_lightning.renamed import ORIGINAL, RENAMED, originally, renamed
from ice_lightning.tasks.settings import digest_of, settings

BEFORE = {"solver._target_": "ice_lightning.krylov.Whole", "method.bound": None, "criterion.term.method": "nearest"}


@pytest.mark.parametrize("name", RENAMED.values())
def test_every_new_name_is_there(name):
    assert callable(pkgutil.resolve_name(name))


def test_old_settings_read_as_new_ones_and_back():
    today = {
        "solver._target_": "ice_lightning.solvers.FullJacobian",
        "counterfactual.bound": None,
        "criterion.term.method": "nearest",
    }
    assert renamed(BEFORE) == today
    assert originally(today) == BEFORE
    assert len(ORIGINAL) == len(RENAMED)


def test_targets_of_the_configuration_are_todays(compose):
    flat = settings(compose("task=explain", "classifier=smiling"), ("solver", "counterfactual", "faces", "classifier"))
    assert not set(flat.values()) & set(RENAMED)
    assert "ice_lightning.solvers.BlockKrylov" in flat.values()


def test_names_of_caches_stay():
    written = json.dumps(BEFORE, sort_keys=True).encode()  # what the name of a cache was the digest of
    assert digest_of(renamed(BEFORE)) == hashlib.sha256(written).hexdigest()[:12]


def test_rows_of_before_have_todays_settings(tmp_path):
    file = tmp_path / "rows.safetensors"
    names = {"classifier": "c", "criterion": "a", "directions": 3, "oracles": [], "rows": ROWS}
    facts = names | {"settings": {"method._target_": "ice_lightning.counterfactual.Gradient"}}
    columns = {name: torch.zeros(2) for name in ("number", "before", "oracles", "flipped", "change")}
    save_file(columns, file, metadata={"explanation": json.dumps(facts)})
    assert read_rows(file)[1].settings == {"counterfactual._target_": "ice_lightning.counterfactuals.Gradient"}
