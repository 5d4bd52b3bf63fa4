"""What ``atomfield.load`` returns: a thin hold on a network, whose methods call the rooms that do the work."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph
from atomfield.inference.interleaved import predict_interleaved
from atomfield.inference.levels import with_level
from atomfield.inference.predict import Prediction, embed_graphs, probabilities, to_graphs
from atomfield.inference.rollout import rollout
from atomfield.inference.unseen import refuse_unseen
from atomfield.models import checkpoint
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from atomfield.models.shipped import Shipped, folder_of, known_names, shipped

if TYPE_CHECKING:
    from atomfield.inference.calculator import AtomFieldCalculator

Device = torch.device | str
_FILES = ("config.json", "model.safetensors", "README.md")


class Model:
    """A loaded network. ``net`` is the bare ``torch.nn.Module``; everything else here is a shorthand.

    Items of ``predict``, ``embed`` and ``training_step`` are SMILES strings, ASE Atoms, pymatgen Structures or Molecules, or
    Graphs. Charge (e) and spin (unpaired electrons) are read from ``atoms.info``.
    """

    def __init__(self, net: AtomFieldNet):
        self.net = net

    def __repr__(self) -> str:
        about = self.summary
        return f"Model({about['parameters']} parameters, {about['dtype']}, on {about['device']}, cutoff {about['cutoff']})"

    @property
    def summary(self) -> dict[str, Any]:
        """Number of parameters, dtype, device, cutoff (angstrom), levels of theory, state quantities of fields, and the user's
        properties."""
        config = self.net.config
        return {
            "parameters": sum(p.numel() for p in self.net.parameters()),
            "dtype": str(self.net.dtype).removeprefix("torch."),
            "device": str(self.net.device),
            "cutoff": config.cutoff,
            "lmax": config.lmax,
            "layers": config.layers,
            "channels": config.channels,
            "levels": list(config.levels),
            "default_levels": {"atoms": config.default_level_atoms, "fields": config.default_level_field},
            "crystal_levels": list(config.crystal_levels),
            "field_states": list(config.field_states),
            "properties": {p.name: p.kind for p in config.properties},
        }

    def calculator(
        self,
        *,
        level: str = "",
        device: Device | None = None,
        dtype: torch.dtype | str | None = None,
        skin: float = 0.5,
        allow_unseen: bool = False,
        uncertainty: bool = True,
        compile: bool = False,
    ) -> AtomFieldCalculator:
        """An ASE calculator with a copy of the network: energy, free energy, forces, stress, charges, dipole. The arguments are
        those of :class:`atomfield.inference.calculator.AtomFieldCalculator`."""
        from atomfield.inference.calculator import AtomFieldCalculator

        return AtomFieldCalculator(
            self.net,
            level=level,
            device=device,
            dtype=dtype,
            skin=skin,
            allow_unseen=allow_unseen,
            uncertainty=uncertainty,
            compile=compile,
        )

    def predict(
        self,
        items: Iterable[Any],
        *,
        forces: bool = True,
        stress: bool | None = None,
        coverage: float | None = 0.9,
        max_edges: int = 60_000,
        seed: int = 0,
        progress: bool = False,
        interleave: int = 1,
    ) -> list[Prediction]:
        """One dictionary per item, in order: name -> array, as :func:`atomfield.inference.predict.predict_graphs` says, with
        the probability of class 1 for a classification. ``coverage``: of the intervals that a finetuned checkpoint gives
        (``NAME_std``, ``NAME_lower``, ``NAME_upper``, ``ood_score``), 0.5, 0.8, 0.9 or 0.95; None: no uncertainty. ``seed``:
        of the conformers of SMILES strings. ``interleave``: of grids that are so many times finer along each axis than those of
        training (:mod:`atomfield.inference.interleaved`).

        Raises ``InputError`` for items that cannot be read and for elements that training never showed."""
        graphs = [with_level(self.net, g, n) for n, g in enumerate(to_graphs(items, self.net.config, seed))]
        for number, graph in enumerate(graphs):
            if graph.world != "field":
                where = graph.provenance if graph.provenance.file else Provenance("<input>", number)
                refuse_unseen(self.net, graph.species, graph.level, where)
        found = predict_interleaved(
            self.net,
            graphs,
            interleave,
            forces=forces,
            stress=stress,
            coverage=coverage,
            max_edges=max_edges,
            progress=progress,
        )
        return probabilities(self.net.config.properties, found)

    def embed(self, items: Iterable[Any], *, max_edges: int = 60_000, seed: int = 0) -> list[Prediction]:
        """Features per item: ``invariant [C]`` and, for lmax > 0, ``vector [3, C]`` (rotates with the structure)."""
        return embed_graphs(self.net, to_graphs(items, self.net.config, seed), max_edges=max_edges)

    def rollout(
        self, graph: Graph, steps: int | None = None, dt: float | None = None
    ) -> dict[str, torch.Tensor]:
        """A field forward in time: ``[steps + 1, N, ...]`` per state quantity, entry 0 the given state."""
        return rollout(self.net, graph, steps, dt)

    def training_step(self, items: Sequence[Any]) -> float:
        """Energy and force loss on one batch and its gradients in ``p.grad`` of the network's parameters (they are reset
        first). No optimiser step. Returns the loss.

        Labels are those of Graphs, or what a calculator attached to Atoms already holds. Where no item has any, zero energy
        and forces stand in, which is enough to time a step. Dropout is as ``net.train()`` or ``net.eval()`` left it.
        """
        from atomfield.pretrain.config import LossWeights
        from atomfield.pretrain.losses import Targets, counts, loss_sums

        graphs = to_graphs(items, self.net.config)
        if not graphs:
            raise InputError("there are no items, expected at least one")
        batch = graphs_to_batch(self.net.config, graphs)
        if batch.world == "field":
            raise InputError("training_step takes atoms, got a field; use `atomfield finetune`")
        if not {"energy", "forces"} & set(batch.quantities):
            batch.quantities["energy"] = torch.zeros(batch.num_graphs, dtype=torch.float64)
            batch.quantities["forces"] = torch.zeros_like(batch.positions)
        batch = batch.to(self.net.device)
        targets = Targets("supervised", ("energy", "forces"))
        labels = counts(self.net, batch, targets)
        self.net.zero_grad(set_to_none=True)
        loss = torch.zeros((), dtype=torch.float64, device=self.net.device)
        for name, total in loss_sums(self.net, self.net, batch, targets, LossWeights()).items():
            loss = loss + total.double() / max(labels[name], 1.0)
        loss.backward()
        return float(loss.detach())


def load(
    path: str | Path, device: Device = "cpu", dtype: torch.dtype | str | None = None, *, hub: bool = False
) -> Model:
    """The model in a checkpoint folder, ``DIR`` or ``DIR/model`` (config.json and model.safetensors; nothing is executed), or a
    model that ships with the package, by its name (``"atomfield-s"``; :func:`pretrained` lists them). A folder of that name in
    the working folder comes first.

    dtype: ``"float32"`` or ``"float64"``; default: as stored. hub: ``path`` is ``"org/name"`` on the Hugging Face Hub, which is
    asked only then. Raises ``InputError`` saying what was found and what was expected.
    """
    from atomfield.inference.calculator import as_dtype

    kind = as_dtype(dtype)
    if not hub and not Path(path).exists() and folder_of(path) is None:
        hint = (
            "; for a repository on the Hugging Face Hub say hub=True"
            if re.fullmatch(r"[\w.-]+/[\w.-]+", str(path))
            else ""
        )
        raise InputError(
            "there is no such folder, expected a checkpoint: a folder with config.json and model.safetensors, or a shipped "
            f"model: {known_names()}{hint}",
            str(path),
        )
    folder = _download(str(path)) if hub else Path(path)
    return Model(checkpoint.load(folder, device=device, dtype=kind))


def pretrained() -> dict[str, Shipped]:
    """The models that ship with the package, by name: folder, size, sha256 and levels of theory of each. No network is used."""
    return shipped()


def _download(name: str) -> Path:
    """The three files of a checkpoint from the Hub, and no other, in its cache."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise InputError(f"{name!r} is not a name on the Hub, expected 'org/name'")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(_FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"the Hub did not give it ({reason})", name) from error
