"""Edge convolutions and node products as compiled passes, with first and second derivatives."""

from .edges import EdgeList, Radial, available, convolve
from .mode import fixed_weights
from .node_block import NodeBlock
from .node_program import NodeProgram
from .node_source import Parameter, Piece
from .powers import PowerShape, paths
from .product import powers, powers_available
from .programs import Shape

__all__ = [
    "EdgeList",
    "NodeBlock",
    "NodeProgram",
    "Parameter",
    "Piece",
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
