"""Edge convolutions and node products as compiled passes, with first and second derivatives."""

from .edges import (
    EdgeList,
    Radial,
    Slopes,
    available,
    convolution_second,
    convolution_slopes,
    convolve,
    convolved,
)
from .geometry import (
    Vectors,
    across_vectors,
    along_vectors,
    forces_of,
    geometry_available,
    vectors,
    virial_of,
)
from .mode import fixed_weights
from .node_block import NodeBlock
from .node_program import NodeProgram
from .node_source import Parameter, Piece
from .order import prepare_order
from .powers import PowerShape, paths
from .product import multiplied, powers, powers_available, product_second, product_slope, product_slopes
from .programs import Shape
from .readout import AtomsRead, pool_atoms, read_atoms, readout_available
from .tape import Tape, constant, made, recording

__all__ = [
    "AtomsRead",
    "EdgeList",
    "NodeBlock",
    "NodeProgram",
    "Parameter",
    "Piece",
    "PowerShape",
    "Radial",
    "Shape",
    "Slopes",
    "Tape",
    "Vectors",
    "across_vectors",
    "along_vectors",
    "available",
    "constant",
    "convolution_second",
    "convolution_slopes",
    "convolve",
    "convolved",
    "fixed_weights",
    "forces_of",
    "geometry_available",
    "made",
    "multiplied",
    "paths",
    "pool_atoms",
    "powers",
    "powers_available",
    "prepare_order",
    "product_second",
    "product_slope",
    "product_slopes",
    "read_atoms",
    "readout_available",
    "recording",
    "vectors",
    "virial_of",
]
