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
