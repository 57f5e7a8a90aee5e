"""The mask head: a U-Net that reads a phrase's attention maps as image channels.

Legend: P phrases, C channels = layers x heads, h w grid of image tokens, H W logits (enlarged grid).
The paper fixes the stages (docs/method.md); module names follow mmsegmentation's ``UNet``
(https://github.com/open-mmlab/mmsegmentation/blob/main/mmseg/models/backbones/unet.py), because the published
checkpoints' keys do.
"""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

WIDTHS = (1, 2, 4, 8)  # per stage, times base_channels
STRIDE = 2 ** (len(WIDTHS) - 1)  # what three 2x poolings need the sides to be a multiple of
TINY = 1e-12  # floor of a map's sum: a phrase may look at no image token at all


class ConvUnit(nn.Module):
    """Convolution, GroupNorm with one group, ReLU; the side lengths stay."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
        self.gn = nn.GroupNorm(1, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(P, in, H, W) -> (P, out, H, W)."""
        return F.relu(self.gn(self.conv(x)))


class ConvBlock(nn.Module):
    """Two 3x3 units."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            ConvUnit(in_channels, out_channels, 3), ConvUnit(out_channels, out_channels, 3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(P, in, H, W) -> (P, out, H, W)."""
        y: torch.Tensor = self.convs(x)
        return y


class Upsample(nn.Module):
    """Twice the side lengths, bilinear, then a 1x1 unit."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.interp_upsample = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            ConvUnit(in_channels, out_channels, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(P, in, H, W) -> (P, out, 2H, 2W)."""
        y: torch.Tensor = self.interp_upsample(x)
        return y


class UpBlock(nn.Module):
    """One decoder stage: upsample, put the encoder's features of that size before it, convolve."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv_block = ConvBlock(2 * out_channels, out_channels)
        self.upsample = Upsample(in_channels, out_channels)

    def forward(self, skip: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """(P, out, 2H, 2W) and (P, in, H, W) -> (P, out, 2H, 2W)."""
        y: torch.Tensor = self.conv_block(torch.cat([skip, self.upsample(x)], dim=1))
        return y


class UNetHead(nn.Module):
    """Raw merged attention of each phrase to one logit map per phrase."""

    def __init__(self, *, in_channels: int, base_channels: int, upsample: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.upsample = upsample
        widths = [base_channels * factor for factor in WIDTHS]
        first = nn.Sequential(ConvBlock(in_channels, widths[0]))
        rest = (
            nn.Sequential(nn.MaxPool2d(2), ConvBlock(before, width)) for before, width in pairwise(widths)
        )
        self.encoder = nn.ModuleList([first, *rest])
        self.decoder = nn.ModuleList(UpBlock(below, width) for width, below in pairwise(widths))
        self.conv_seg = nn.Conv2d(widths[0], 1, 1)
        self.apply(_start)

    def forward(self, attention: torch.Tensor) -> torch.Tensor:
        """(P, C, h, w) attention, not normalised -> (P, 1, H, W) logits, max(H, W) at least ``upsample``."""
        maps = self._enlarge(normalise(attention))
        rows, columns = maps.shape[-2:]
        x = F.pad(maps, (0, -columns % STRIDE, 0, -rows % STRIDE))  # right and below
        x = x.contiguous(memory_format=torch.channels_last)  # a fifth faster on a CPU, same numbers
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        for stage, skip in zip(reversed(self.decoder), reversed(skips[:-1]), strict=True):
            x = stage(skip, x)
        # The padding goes before the 1x1 convolution: same logits, fewer of them.
        logits: torch.Tensor = self.conv_seg(x[..., :rows, :columns])
        return logits

    def _enlarge(self, maps: torch.Tensor) -> torch.Tensor:
        scale = max(1.0, self.upsample / max(maps.shape[-2:]))
        # By factor, not by size: interpolation then samples at exactly this factor on both axes, as upstream.
        return F.interpolate(maps, scale_factor=scale, mode="bilinear", align_corners=False)


def _start(module: nn.Module) -> None:
    """Draw a convolution's weights as mmsegmentation's U-Net does: Kaiming normal, fan-out, bias zero.

    Attention that sums to one over a map is tiny. Under torch's own smaller weights the first GroupNorm sees
    variances below its epsilon, and a training at the paper's learning rate hardly moves for hundreds of steps.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def normalise(attention: torch.Tensor) -> torch.Tensor:
    """Divide each map (…, h, w) by its own sum, clamped at 1e-12 (docs/families.md)."""
    return attention / attention.sum(dim=(-2, -1), keepdim=True).clamp_min(TINY)
