"""Frozen features of a network for scikit-learn: a transformer that stands in a ``Pipeline`` before any regressor or classifier.

    make_pipeline(AtomFieldFeatures("runs/mine"), StandardScaler(), Ridge()).fit(smiles, values)

Import it from here; it needs scikit-learn (``pip install 'atomfield[sklearn]'``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from atomfield.data.errors import InputError

try:
    from sklearn.base import BaseEstimator, TransformerMixin
except ImportError as error:
    raise InputError(
        "features for scikit-learn need scikit-learn, which is not installed; pip install 'atomfield[sklearn]'"
    ) from error


class AtomFieldFeatures(TransformerMixin, BaseEstimator):
    """Items (SMILES, ASE Atoms, pymatgen objects, Graphs) to rows of invariant features ``[R, C]``.

    checkpoint: folder, or the name of a shipped model. pooling: ``"mean"`` over atoms (intensive properties) or ``"sum"``
    (extensive: features times the number of atoms, with that number as a last column). seed: of the conformers of SMILES
    strings. Nothing is fitted.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        pooling: Literal["mean", "sum"] = "mean",
        seed: int = 0,
        max_edges: int = 60_000,
        device: str = "cpu",
    ):
        self.checkpoint, self.pooling, self.seed, self.max_edges, self.device = (
            checkpoint,
            pooling,
            seed,
            max_edges,
            device,
        )

    def fit(self, items: Sequence[Any], targets: Any = None) -> AtomFieldFeatures:
        """Load the network; ``targets`` are not looked at."""
        from atomfield.models.checkpoint import load

        if self.pooling not in ("mean", "sum"):
            raise InputError(f"pooling is {self.pooling!r}, expected mean or sum")
        self.net_ = load(self.checkpoint, self.device)
        self.n_features_out_ = self.net_.config.channels + (self.pooling == "sum")
        return self

    def transform(self, items: Sequence[Any]) -> np.ndarray:
        """``[R, C]`` float64; of ``"sum"`` ``[R, C + 1]``."""
        from .predict import embed_graphs, to_graphs

        if not hasattr(self, "net_"):
            self.fit(items)
        graphs = to_graphs(list(items), self.net_.config, self.seed)
        rows = embed_graphs(self.net_, graphs, max_edges=self.max_edges)
        features = np.array([row["invariant"] for row in rows]).reshape(-1, self.net_.config.channels)
        if self.pooling == "mean":
            return features
        count = np.array([g.num_nodes for g in graphs], dtype=np.float64)[:, None]
        return np.concatenate([features * count, count], axis=1)

    def get_feature_names_out(self, names: Any = None) -> np.ndarray:
        """``atomfield0``, ``atomfield1``, ..."""
        return np.array([f"atomfield{k}" for k in range(self.n_features_out_)], dtype=object)

    def __getstate__(self) -> dict[str, Any]:
        """Without the network, which its folder has."""
        return {k: v for k, v in super().__getstate__().items() if k != "net_"}
