"""Which attention heads and hidden layers of a frozen LMM are kept, where not all are.

Chosen once, by the step ``pilot``; written into the manifest of every part that is extracted with it and into the head
that is trained on it, so that whoever runs that head takes the same ones from what the LMM gives.

Numbers: head ``m`` of layer ``l`` is number ``l * M + m`` for M heads in a layer; channel ``g * of_heads + number`` is
that head on grid ``g``. A kept head is kept on every grid.
"""

from collections.abc import Sequence
from typing import Annotated, Self

import torch
from pydantic import Field, model_validator

from flmm.errors import InputError
from flmm.sections import PositiveInt, Section

Numbers = Annotated[tuple[int, ...], Field(strict=False, min_length=1)]


class Selection(Section):
    """The numbers of the kept ``heads`` and ``layers``, rising; of how many heads and layers the LMM has."""

    heads: Numbers
    layers: Numbers
    of_heads: PositiveInt
    of_layers: PositiveInt

    @model_validator(mode="after")
    def _rise_and_are_the_model_s(self) -> Self:
        for name, numbers, count in (
            ("heads", self.heads, self.of_heads),
            ("layers", self.layers, self.of_layers),
        ):
            if list(numbers) != sorted(set(numbers)) or numbers[0] < 0 or numbers[-1] >= count:
                raise ValueError(f"{name}: expected rising numbers from 0 to {count - 1}")
        return self

    def attention(self, maps: torch.Tensor) -> torch.Tensor:
        """One grid's maps (P, of_heads, h, w) of the kept heads: (P, heads, h, w).

        Raises:
            InputError: the LMM has another number of heads.
        """
        if maps.shape[1] != self.of_heads:
            raise InputError(
                f"{len(self.heads)} heads were chosen of {self.of_heads}, but the backbone has {maps.shape[1]}; "
                "was it for another backbone?"
            )
        return maps[:, list(self.heads)]

    def hidden(self, states: torch.Tensor) -> torch.Tensor:
        """Hidden states (of_layers, T, D) of the kept layers: (layers, T, D).

        Raises:
            InputError: the LMM has another number of layers.
        """
        if len(states) != self.of_layers:
            raise InputError(
                f"{len(self.layers)} layers were chosen of {self.of_layers}, but the backbone has {len(states)}; "
                "was it for another backbone?"
            )
        return states[list(self.layers)]

    def channel(self, place: int) -> int:
        """Which of the LMM's channels lies at a place among the kept ones, all grids together."""
        grid, index = divmod(place, len(self.heads))
        return grid * self.of_heads + self.heads[index]

    def places(self, channels: Sequence[int]) -> list[int]:
        """Where the LMM's channels lie among the kept ones, all grids together.

        Raises:
            InputError: one is not kept.
        """
        numbers = [divmod(channel, self.of_heads) for channel in channels]
        dropped = [
            str(channel)
            for channel, (_, head) in zip(channels, numbers, strict=True)
            if head not in self.heads
        ]
        if dropped:
            raise InputError(
                f"channels {', '.join(dropped)} are of heads that are not kept; run select again"
            )
        return [grid * len(self.heads) + self.heads.index(head) for grid, head in numbers]

    def all_channels(self, kept: int) -> int:
        """Of how many channels of the LMM ``kept`` ones are, all grids together."""
        return kept // len(self.heads) * self.of_heads
