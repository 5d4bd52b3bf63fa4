"""Edge convolutions as one compiled pass over the edges, with first and second derivatives."""

from .edges import EdgeList, available, convolve
from .programs import Shape

__all__ = ["EdgeList", "Shape", "available", "convolve"]
