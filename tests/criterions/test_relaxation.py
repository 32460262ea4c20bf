"""A preset relaxes single people's charges as its study chose on other people."""

import json
import sys
from pathlib import Path

from ice_lightning.tasks.build import composed

STUDY = Path(__file__).parents[2] / "experiments" / "local"
CONF = Path(__file__).parents[2] / "conf" / "criterion"


def test_presets_relax_by_what_was_chosen(monkeypatch):
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(STUDY))
    from relaxation import choice

    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(STUDY)):
            del sys.modules[name]
    tried = {file.stem: choice(json.loads(file.read_text())) for file in (STUDY / "relaxation").glob("*.json")}
    assert "mouth_shape" in tried
    for preset in CONF.glob("*.yaml"):
        assert composed(criterion=preset.stem).criterion.local_relaxation == int(tried.get(preset.stem, 1)), preset.stem
