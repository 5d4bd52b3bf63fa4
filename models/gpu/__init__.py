"""Edge convolutions and node products as Triton kernels, with first and second derivatives, for GPUs."""

from .captured import CapturedPass
from .convolution import convolution_available, convolved_on_gpu
from .products import powers_on_gpu, products_available
from .replayed import Call, ReplayedPass, replaying
from .rows import rows_of
from .traced import CompiledPass

__all__ = [
    "Call",
    "CapturedPass",
    "CompiledPass",
    "ReplayedPass",
    "convolution_available",
    "convolved_on_gpu",
    "powers_on_gpu",
    "products_available",
    "replaying",
    "rows_of",
]
