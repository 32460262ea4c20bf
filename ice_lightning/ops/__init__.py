"""The operations of StyleGAN2: bias_act, upfirdn2d, and convolution with weights that stay.

Everything here has forward mode, vmap and backward passes of any order. `ICE_LIGHTNING_OPS` chooses who computes
bias_act and upfirdn2d: torch operations (python), our own kernels (native), or what was measured to be faster (auto).
"""

from ice_lightning.ops.bias_act import ACTIVATIONS, bias_act
from ice_lightning.ops.convolution import conv2d, conv_transpose2d
from ice_lightning.ops.upfirdn2d import setup_filter, upfirdn2d

__all__ = ["ACTIVATIONS", "bias_act", "conv2d", "conv_transpose2d", "setup_filter", "upfirdn2d"]
