"""AtomField: one E(3)-equivariant model for atoms and fields. See :func:`load` and :class:`Model`.

The names below are loaded on first use: importing the package costs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atomfield.data.errors import InputError
    from atomfield.data.graph import Graph
    from atomfield.data.readers import ReadOptions, read

    from .model import Model, load, pretrained

__all__ = ["Graph", "InputError", "Model", "ReadOptions", "__version__", "load", "pretrained", "read"]

_HOMES = {
    "Graph": "atomfield.data.graph",
    "InputError": "atomfield.data.errors",
    "Model": "atomfield.model",
    "ReadOptions": "atomfield.data.readers",
    "load": "atomfield.model",
    "pretrained": "atomfield.model",
    "read": "atomfield.data.readers",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("atomfield")
    if name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'atomfield' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
