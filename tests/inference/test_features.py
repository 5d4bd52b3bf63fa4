from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from atomfield.data.errors import InputError
from atomfield.inference.features import AtomFieldFeatures
from atomfield.inference.predict import embed_graphs, to_graphs
from atomfield.models import checkpoint
from tests.small import morse_clusters, small_network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint.save(small_network(), tmp_path_factory.mktemp("checkpoint") / "model")


def test_a_pipeline_learns_from_frozen_features(folder: Path) -> None:
    graphs = morse_clusters(200)
    target = np.array([float(g.quantities["energy"]) for g in graphs])
    pipeline = make_pipeline(AtomFieldFeatures(folder), StandardScaler(), Ridge(alpha=1e-3))
    pipeline.fit(graphs[:160], target[:160])
    guess = pipeline.predict(graphs[160:])
    assert np.abs(guess - target[160:]).mean() < 0.7 * np.abs(target[:160].mean() - target[160:]).mean()
    search = GridSearchCV(
        pipeline, {"ridge__alpha": [1e-3, 1.0], "atomfieldfeatures__pooling": ["mean", "sum"]}, cv=2
    )
    search.fit(graphs[:20], target[:20])
    assert set(search.best_params_) == {"ridge__alpha", "atomfieldfeatures__pooling"}


def test_they_are_the_embedding(folder: Path) -> None:
    items = ["CO", "C"]
    found = AtomFieldFeatures(folder).fit_transform(items)
    net = checkpoint.load(folder)
    expected = embed_graphs(net, to_graphs(items, net.config))
    np.testing.assert_allclose(found, [e["invariant"] for e in expected])
    summed = AtomFieldFeatures(folder, pooling="sum").fit(items)
    np.testing.assert_allclose(summed.transform(items)[0], [*6 * found[0], 6])
    assert len(summed.get_feature_names_out()) == summed.transform(items).shape[1]
    assert "net_" not in summed.__getstate__()
    assert clone(summed).pooling == "sum"
    with pytest.raises(InputError, match="expected mean or sum"):
        AtomFieldFeatures(folder, pooling="max").fit(items)  # type: ignore[arg-type]


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_no_items_are_no_rows(folder: Path, pooling: str) -> None:
    found = AtomFieldFeatures(folder, pooling=pooling).fit(["CO"])  # type: ignore[arg-type]
    assert found.transform([]).shape == (0, len(found.get_feature_names_out()))
