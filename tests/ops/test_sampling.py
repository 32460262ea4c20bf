"""layers.py against torch."""

import pytest
import torch
from torch.nn import functional as F

from ice_lightning.ops.sampling import resize, resizing


@pytest.mark.parametrize("size", [1, 7, 16, 40])
def test_resize_is_torch_s_anti_aliased_one_up_and_down(size):
    image = torch.rand(2, 3, 24, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(image, (size, size), mode="bilinear", antialias=True, align_corners=False)
    assert torch.allclose(resize(image, size), expected, atol=1e-12)


def test_resize_can_be_differentiated_after_its_first_use_in_inference_mode():
    resizing.cache_clear()
    with torch.inference_mode():
        resize(torch.rand(1, 1, 8, 8, dtype=torch.float64), 4)
    image = torch.rand(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    resize(image, 4).sum().backward()
    assert float(image.grad.sum()) == pytest.approx(16)  # what each of 16 pixels is a mean of
