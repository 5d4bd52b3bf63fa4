"""Edge convolutions and node products as compiled passes, with first and second derivatives."""

from .edges import EdgeList, Radial, available, convolve
from .mode import fixed_weights
from .powers import PowerShape, paths
from .product import powers, powers_available
from .programs import Shape

__all__ = [
    "EdgeList",
    "PowerShape",
    "Radial",
    "Shape",
    "available",
    "convolve",
    "fixed_weights",
    "paths",
    "powers",
    "powers_available",
]
