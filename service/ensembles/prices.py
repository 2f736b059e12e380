"""Prices of models, and costs in whole billionths of a US dollar. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

from service.domain import Usage

_NANO_PER_USD = 1_000_000_000
_TOKENS = 1_000_000  # that a price is for


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens of one model.

    Without a price of their own, cached and image tokens cost what other input costs, and
    reasoning tokens what other output costs.
    """

    input: float
    output: float
    cached_input: float | None = None
    reasoning: float | None = None
    image: float | None = None

    def cost_nano_usd(self, usage: Usage) -> int:
        """Return the cost of `usage` in billionths of a US dollar, rounded up."""
        cached = min(usage.cached_tokens, usage.input_tokens)
        images = min(usage.image_tokens, usage.input_tokens - cached)
        reasoning = min(usage.reasoning_tokens, usage.output_tokens)
        return _add_up(
            (usage.input_tokens - cached - images, self.input),
            (cached, _first(self.cached_input, self.input)),
            (images, _first(self.image, self.input)),
            (usage.output_tokens - reasoning, self.output),
            (reasoning, _first(self.reasoning, self.output)),
        )

    def cost_usd(self, usage: Usage) -> float:
        """Return the cost of `usage` in US dollars."""
        return self.cost_nano_usd(usage) / _NANO_PER_USD

    def limit_nano_usd(self, input_tokens: int, image_tokens: int, output_tokens: int) -> int:
        """Return the highest cost of a call in billionths of a US dollar.

        Image tokens are not a part of `input_tokens`. All output may be reasoning.
        """
        text = max(self.input, _first(self.cached_input, self.input))
        image = max(text, _first(self.image, self.input))
        output = max(self.output, _first(self.reasoning, self.output))
        return _add_up((input_tokens, text), (image_tokens, image), (output_tokens, output))


def _add_up(*parts: tuple[int, float]) -> int:
    """Return the cost of tokens at their prices, rounded up; exact until then."""
    return -(-sum(tokens * _read_nano_usd(price) for tokens, price in parts) // _TOKENS)


@lru_cache(maxsize=1024)
def _read_nano_usd(price: float) -> int:
    """Return a price per million tokens in billionths of a US dollar."""
    exact = Decimal(repr(price)) * _NANO_PER_USD  # of the decimal number in the file
    return int(exact.to_integral_value(ROUND_CEILING))


def _first(price: float | None, otherwise: float) -> float:
    return otherwise if price is None else price
