"""How the mask head's first weights decide what its first steps do: Kaiming normal, fan-out, against torch's own.

    python benchmarks/unet_start.py [--channels 1024 --base 64 --upsample 64 --lr 1e-4 --steps 160 --batch 8]

Both starts see the same synthetic maps: a rectangle with noise of its own per channel, one map in ten a sink that
holds up to half of its attention in one cell. Printed: the loss (BCE plus dice), averaged over twenty steps.
"""

import argparse

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from flmm.heads.losses import mask_loss
from flmm.heads.unet import UNetHead

CELLS = 24
WINDOW = 20  # steps that are averaged


def torch_s_own(module: nn.Module) -> None:
    """What every convolution starts from when nobody says anything."""
    if isinstance(module, nn.Conv2d):
        module.reset_parameters()


def batch(size: int, channels: int, upsample: int, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Maps (B, C, h, w) and targets (B, H, W) of rectangles of a quarter to half of each side."""
    corners = torch.rand(size, 2, generator=generator) * 0.5
    lengths = 0.25 + torch.rand(size, 2, generator=generator) * 0.25
    noise = torch.rand(size, channels, CELLS, CELLS, generator=generator)
    maps = (0.3 * _rectangles(corners, lengths, CELLS)[:, None] + noise) / CELLS**2
    share = 0.5 * torch.rand(size, channels, generator=generator)
    sinks = torch.rand(size, channels, generator=generator) < 0.1
    maps[:, :, 0, 0] = torch.where(sinks, share, maps[:, :, 0, 0])
    return maps, _rectangles(corners, lengths, upsample)


def _rectangles(corners: torch.Tensor, lengths: torch.Tensor, side: int) -> torch.Tensor:
    places = (torch.arange(side) + 0.5) / side
    inside = (places >= corners[..., None]) & (places < (corners + lengths)[..., None])  # (B, 2, side)
    return (inside[:, 0, :, None] & inside[:, 1, None, :]).float()


def losses(options: argparse.Namespace, start: str) -> list[float]:
    """The loss of every step."""
    torch.manual_seed(0)
    unet = UNetHead(in_channels=options.channels, base_channels=options.base, upsample=options.upsample)
    if start == "torch":
        unet.apply(torch_s_own)
    unet.to(options.device)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=options.lr, weight_decay=0.01)
    generator, found = torch.Generator().manual_seed(1), []
    for _ in range(options.steps):
        maps, targets = batch(options.batch, options.channels, options.upsample, generator)
        loss = sum(mask_loss(unet(maps.to(options.device))[:, 0], targets.to(options.device)).values())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        found.append(loss.item())
    return found


def main() -> None:
    """Train both and print how far each has come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, value in (("channels", 1024), ("base", 64), ("upsample", 64), ("steps", 160), ("batch", 8)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    table = Table("after step", "Kaiming, fan-out", "torch's own")
    kaiming, own = losses(options, "kaiming"), losses(options, "torch")
    for end in range(WINDOW, options.steps + 1, WINDOW):
        table.add_row(str(end), *(f"{sum(one[end - WINDOW : end]) / WINDOW:.3f}" for one in (kaiming, own)))
    Console().print(table)


if __name__ == "__main__":
    main()
