"""Import torch at its first use.

Write `from blendbench.core.lazy import Tensor, torch`.

Planning, lists and reports need no torch, which takes seconds to import.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["LazyModule", "Tensor", "torch"]


class LazyModule(ModuleType):
    """Stand for a module that is imported when one of its attributes is read."""

    def __getattr__(self, name: str) -> Any:
        """Import the module and look the name up there."""
        if name.startswith("__"):
            raise AttributeError(name)  # whoever inspects modules does not use them
        return getattr(importlib.import_module(self.__name__), name)


class _TensorType(type):
    """Make `isinstance(x, Tensor)` ask for torch's tensors."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, torch.Tensor)


if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = LazyModule("torch")

    class Tensor(metaclass=_TensorType):
        """Stand for torch.Tensor in annotations and in isinstance()."""
