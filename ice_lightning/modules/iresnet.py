"""ArcFace's iResNet under the state-dict names of the public insightface weights (`backbone.pth`, 112 px).

Architecture: Deng et al. 2019 (arXiv 1801.07698), section 3.1 and Han et al. 2017 (improved residual units: batch norm
first); names as in deepinsight/insightface, recognition/arcface_torch.
"""

from __future__ import annotations

from torch import Tensor, nn

DEPTHS = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
"""Blocks per stage, by the number of layers in the network's name (`iresnet50`, `iresnet100` there)."""


class Block(nn.Module):
    """Batch norm, convolution, batch norm, PReLU, convolution, batch norm, round a shortcut.

    Args:
        c_in: channels in.
        c_out: channels out.
        stride: of the second convolution.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.prelu = nn.PReLU(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.downsample: nn.Module | None = None
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return shortcut + self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))


class IResNet(nn.Module):
    """An aligned face crop to its identity embedding.

    Args:
        depths: blocks per stage; DEPTHS has those of the public networks.
        dim: length of the embedding.
    """

    def __init__(self, depths: tuple[int, ...] = DEPTHS[50], dim: int = 512) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        for i, (depth, a, b) in enumerate(zip(depths, (64, 64, 128, 256), (64, 128, 256, 512), strict=True), 1):
            blocks = [Block(a, b, 2), *(Block(b, b, 1) for _ in range(depth - 1))]
            self.add_module(f"layer{i}", nn.Sequential(*blocks))
        self.bn2 = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512 * 7 * 7, dim)
        self.features = nn.BatchNorm1d(dim)

    def forward(self, crop: Tensor) -> Tensor:
        """(N, 3, 112, 112) in 0..1, aligned -> (N, dim), not normalised."""
        x = self.prelu(self.bn1(self.conv1(crop * 2 - 1)))
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
        return self.features(self.fc(self.bn2(x).flatten(1)))
