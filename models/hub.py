"""``transformers`` finds a checkpoint too: ``import atomfield.models.hub`` registers ``AutoConfig`` and ``AutoModel``.

``AutoModel.from_pretrained`` takes folders, ``atomfield.pretrained()["atomfield-s"].folder`` of a shipped model for instance:
it looks for bare names on the Hub before it knows whose they are. ``AtomFieldModel.from_pretrained`` takes shipped names too.

Only the outer shell: the network stays a plain module, and the weights on disk are those of :mod:`checkpoint`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from atomfield.data.errors import InputError
from atomfield.data.graph import GraphBatch

from .config import NetworkConfig
from .network import AtomFieldNet
from .shipped import folder_of


class AtomFieldConfig(PreTrainedConfig):
    """``config.json`` as transformers sees it; ``network`` holds the fields of :class:`NetworkConfig`."""

    model_type = "atomfield"
    network: dict[str, Any] | None = None


class AtomFieldModel(PreTrainedModel):
    """:class:`AtomFieldNet` in the clothes of ``PreTrainedModel``; calls go straight through."""

    config_class = AtomFieldConfig
    base_model_prefix = "atomfield"
    main_input_name = "batch"

    def __init__(self, config: AtomFieldConfig):
        super().__init__(config)
        self.net = AtomFieldNet(NetworkConfig(**(config.network or {})))
        self.post_init()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As in transformers, of shipped models by name too; weights move from the mapped file into memory of torch's own.

        safetensors packs tensors without gaps, so mapped weights start at any multiple of 8 bytes; matrix products then take
        other kernels than on aligned memory, and their last bits differ.

        Raises ``InputError`` for a ``dtype`` other than float32 and float64.
        """
        path = folder_of(str(pretrained_model_name_or_path)) or pretrained_model_name_or_path
        loaded = super().from_pretrained(path, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded  # output_loading_info=True gives a pair
        if model.net.dtype not in (torch.float32, torch.float64):
            raise InputError(
                f"dtype is {model.net.dtype}, expected float32 or float64; lower precision breaks the symmetries"
            )
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data = tensor.data.clone()
        return loaded

    def _init_weights(self, module: Any) -> None:
        """Weights are set where modules are built; transformers must not draw them again."""

    def forward(self, batch: GraphBatch, *, forces: bool = True, stress: bool = False) -> dict[str, Tensor]:
        return self.net(batch, forces=forces, stress=stress)


AutoConfig.register("atomfield", AtomFieldConfig, exist_ok=True)
AutoModel.register(AtomFieldConfig, AtomFieldModel, exist_ok=True)
