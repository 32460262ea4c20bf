"""Outcomes in random subspaces that are kept for the next explanation."""

import torch
from safetensors.torch import load_file

from ice_lightning.explanation.controls import FILE, keep_controls, read_controls
from ice_lightning.explanation.outcomes import Outcomes, RandomOutcomes
from ice_lightning.explanation.rows import Rows


def outcomes(numbers, applied):
    """Rows of some people whose change says who they are."""
    number = torch.tensor(numbers)
    nobody = Outcomes(torch.zeros(len(number), dtype=torch.bool), number.float(), number.float())
    change = number[:, None].float().expand(-1, 2)
    random = RandomOutcomes(torch.tensor(applied), change > 1, change, change[..., None].expand(-1, -1, 3).contiguous())
    return Rows(number, number.float(), torch.zeros(len(number), 0), nobody, random=random)


def test_earlier_people_stay_and_others_are_added(tmp_path):
    keep_controls(tmp_path, outcomes([3, 0], [True, True]))
    keep_controls(tmp_path, outcomes([1, 7], [True, False]))
    kept = read_controls(tmp_path)
    assert sorted(kept) == [0, 1, 3], "7 had none applied"
    assert [float(kept[number].change[0, 0]) for number in sorted(kept)] == [0, 1, 3]
    assert load_file(tmp_path / FILE)["number"].tolist() == [0, 1, 3]


def test_nothing_is_kept_of_nobody(tmp_path):
    keep_controls(tmp_path, outcomes([0], [False]))
    assert not list(tmp_path.iterdir())
    assert read_controls(tmp_path) == {}
