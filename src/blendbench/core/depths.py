"""Depths as percentages, so that one experiment fits models of any depth."""

import re
from dataclasses import dataclass

from blendbench.core.errors import UsageError

_PERCENTAGE = re.compile(r"(\d+(?:\.\d+)?)%")


@dataclass(frozen=True)
class Depth:
    """The depth of a model set.

    `hidden_states`: those of the vision-language model, its layers and the embedding. `blocks`: those of the
    transformer's main stream.
    """

    hidden_states: int
    blocks: int

    def layers(self, text: str) -> str:
        """Replace each percentage in `text` by the index of a hidden state.

        0 % is the embedding. 100 % is the last but one, -2: the last one is behind the final normalisation, and is no
        later state of the same kind. Errors: UsageError above 100 %.
        """
        return self._replaced(text, self.hidden_states - 2, -self.hidden_states)

    def blocks_of(self, text: str) -> str:
        """Replace percentages by numbers of blocks. Errors: UsageError above 100 %."""
        return self._replaced(text, self.blocks, 0)

    @staticmethod
    def _replaced(text: str, whole: int, first: int) -> str:
        def nearest(found: re.Match[str]) -> str:
            if (percent := float(found[1])) > 100:
                raise UsageError(f"{found[0]}: a depth is a percentage from 0 to 100")
            return str(first + int(percent / 100 * whole + 0.5))

        return _PERCENTAGE.sub(nearest, text)


def is_relative(value: object) -> bool:
    """Return whether a parameter's value states a depth as a percentage."""
    return isinstance(value, str) and _PERCENTAGE.search(value) is not None


@dataclass(frozen=True)
class InBlocks:
    """Mark a parameter that counts blocks, so that it may be a percentage."""
