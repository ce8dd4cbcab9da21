"""Steps of a blend: interchangeable functions that parameters name."""

from collections.abc import Callable
from typing import Any, TypeVar

from blendbench.registry.plugins import origin_of
from blendbench.registry.registry import Registry

Function = TypeVar("Function", bound=Callable[..., Any])


class Steps(Registry[Function]):
    """Functions of one kind by name.

    A parameter annotated with them, as `Annotated[str, ALIGNMENTS]`, names one of them; a plug-in may register more.
    """

    def register(self, name: str) -> Callable[[Function], Function]:
        """Return a decorator that adds a function. Errors: UsageError."""

        def add(function: Function) -> Function:
            self.add(name, function, origin=origin_of(function))
            return function

        return add
