"""The mask head's own properties; its numbers are compared in tests/test_reference_parity.py."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flmm.heads.unet import UNetHead, normalise


def small_unet() -> UNetHead:
    torch.manual_seed(0)
    return UNetHead(in_channels=3, base_channels=2, upsample=32).eval()


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40))
def test_the_longer_side_of_the_logits_is_the_enlarged_side_and_the_aspect_ratio_stays(
    rows: int, columns: int
) -> None:
    logits = small_unet()(torch.rand(1, 3, rows, columns))
    scale = max(1.0, 32 / max(rows, columns))
    assert logits.shape[:2] == (1, 1)
    assert abs(logits.shape[2] - rows * scale) < 1
    assert abs(logits.shape[3] - columns * scale) < 1


@torch.no_grad()
def test_the_scale_of_an_attention_map_does_not_matter() -> None:
    unet, attention = small_unet(), torch.rand(2, 3, 12, 12)
    scales = torch.tensor([1e-4, 3.0, 70.0])[:, None, None]
    torch.testing.assert_close(unet(attention), unet(attention * scales))


def test_a_map_that_looks_nowhere_stays_finite() -> None:
    assert torch.equal(normalise(torch.zeros(1, 1, 3, 3)), torch.zeros(1, 1, 3, 3))


@torch.no_grad()
def test_phrases_do_not_influence_each_other() -> None:
    unet, attention = small_unet(), torch.rand(3, 3, 10, 14)
    together = unet(attention)
    alone = torch.cat([unet(phrase[None]) for phrase in attention])
    torch.testing.assert_close(together, alone)


def test_the_authors_head_has_about_eight_million_weights() -> None:
    with torch.device("meta"):
        unet = UNetHead(in_channels=1024, base_channels=64, upsample=64)
    count = sum(parameter.numel() for parameter in unet.parameters())
    assert 7.0e6 < count < 9.0e6  # with SAM's prompt encoder and mask decoder (4.1 M): the paper's 12 M


def test_every_convolution_starts_from_kaiming_normal_fan_out() -> None:
    torch.manual_seed(0)
    unet = UNetHead(in_channels=24, base_channels=16, upsample=32)
    convolutions = [module for module in unet.modules() if isinstance(module, torch.nn.Conv2d)]
    for conv in convolutions:
        weight = conv.weight.detach()
        expected = (2 / (weight.shape[0] * weight.shape[2] * weight.shape[3])) ** 0.5  # outputs x kernel
        spread = 4 / (2 * weight.numel()) ** 0.5  # of a standard deviation's estimate, four times
        assert abs(weight.std().item() / expected - 1) < max(spread, 0.02), weight.shape
        # Normal, not uniform: a uniform draw of this deviation ends at 1.73 of it.
        assert weight.numel() < 500 or weight.abs().max().item() > 2.5 * expected
    assert torch.equal(unet.conv_seg.bias, torch.zeros(1))
    assert len(convolutions) == 2 * 4 + 3 * 3 + 1


def test_twenty_five_steps_learn_something() -> None:
    """Torch's own start stands still here: attention that sums to one drowns in GroupNorm's epsilon."""
    torch.manual_seed(0)
    unet = UNetHead(in_channels=8, base_channels=8, upsample=16)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-3)
    truth = torch.zeros(2, 1, 16, 16)
    truth[0, :, 2:8, 3:9] = truth[1, :, 8:14, 6:14] = 1
    maps = torch.nn.functional.avg_pool2d(truth, 2).repeat(1, 8, 1, 1) + 0.1 * torch.rand(2, 8, 8, 8)
    losses = []
    for _ in range(25):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(unet(maps), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25, losses
