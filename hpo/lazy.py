"""Heavy modules that load at first use, so that a sweep is validated and listed without waiting for torch.

Write `from hpo.lazy import torch` where a module must import quickly but its functions use torch.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any


class _Lazy(ModuleType):
    """Stands for a module and imports it at the first attribute asked of it."""

    _module: ModuleType | None = None  # kept, as asking for the import again costs more than a small kernel

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self._module is None:
            self._module = importlib.import_module(self.__name__)
        return getattr(self._module, name)


if TYPE_CHECKING:
    import torch as torch
else:
    torch = _Lazy("torch")

__all__ = ["torch"]
