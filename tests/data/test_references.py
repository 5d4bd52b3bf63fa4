"""References are recovered, taken from isolated atoms, refused when nonsense, and never stale."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
import torch

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.references import (
    Compositions,
    fit_level,
    fit_references,
    isotropic_scales,
    reference_table,
    references_of,
)
from atomfield.data.store import Store, write_store

TRUE = {1: -13.6, 6: -1030.0, 8: -2042.0}


def molecule(counts: dict[int, int], energy: float, level: str = "pbe") -> Graph:
    species = torch.tensor([z for z, n in counts.items() for _ in range(n)])
    positions = torch.arange(3.0 * len(species)).reshape(-1, 3)
    return Graph(
        positions,
        species,
        "molecule",
        quantities={"energy": torch.tensor(energy, dtype=torch.float64)},
        level=level,
    )


def molecules(count: int = 30, noise: float = 0.1, binding: float = -4.0) -> list[Graph]:
    rng = np.random.default_rng(0)
    graphs = []
    for _ in range(count):
        counts = {1: int(rng.integers(1, 9)), 6: int(rng.integers(1, 5)), 8: int(rng.integers(0, 3))}
        total = sum(TRUE[z] * n for z, n in counts.items()) + binding * sum(counts.values())
        graphs.append(molecule(counts, total + noise * rng.standard_normal()))
    return graphs


def test_a_fit_recovers_the_elements() -> None:
    (fit,) = references_of(molecules(binding=0.0))
    assert fit.energies == pytest.approx(TRUE, abs=0.3)
    assert fit.residual < 0.05 and not fit.isolated and not fit.undetermined
    assert "H -13.596, C -1030.009" in reference_table([fit])


def test_many_records_ask_for_no_matrix_of_records_times_records() -> None:
    graphs = molecules(count=50)
    counts = np.stack([np.bincount(g.species.numpy(), minlength=119) for g in graphs] * 400).astype(float)
    energies = np.array([float(g.quantities["energy"]) for g in graphs] * 400)
    tracemalloc.start()
    fit = fit_level("many", counts, energies)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * counts.nbytes  # 20,000 x 20,000 numbers would be 168 times as much
    assert not fit.undetermined


def test_isolated_atoms_are_the_references() -> None:
    graphs = [*molecules(), *(molecule({z: 1}, e) for z, e in TRUE.items())]
    (fit,) = references_of(graphs)
    assert fit.energies == TRUE and fit.isolated == (1, 6, 8)
    assert fit.residual == pytest.approx(4.0, abs=0.1)  # what binds
    assert "H -13.600 (atom)" in reference_table([fit])
    (partly,) = references_of([*molecules(), molecule({1: 1}, -13.6)])
    assert partly.isolated == (1,)
    assert partly.energies[6] == pytest.approx(-1034, abs=15)


def test_elements_that_never_vary_alone_are_named() -> None:
    graphs = [molecule({1: 2 * n, 8: n}, -2070.0 * n) for n in range(1, 9)]
    (fit,) = references_of(graphs)
    assert fit.undetermined == (1, 8)
    assert "H, O do not vary on their own" in reference_table([fit])
    assert 2 * fit.energies[1] + fit.energies[8] == pytest.approx(-2070.0, abs=0.1)


def test_levels_have_their_own_references() -> None:
    graphs = [
        *molecules(binding=0.0),
        molecule({1: 2}, -2.0, level="valence"),
        molecule({1: 4}, -4.0, level="valence"),
    ]
    by_level = {fit.level: fit for fit in references_of(graphs)}
    assert by_level["valence"].energies == pytest.approx({1: -1.0})
    assert by_level["pbe"].energies[1] == pytest.approx(-13.6, abs=0.3)


def test_nonsense_is_refused_with_a_reason() -> None:
    in_kcal = [molecule({1: 2 * n}, -15.0 * 23.06 * 27.2 * n) for n in range(1, 9)]
    with pytest.raises(InputError, match=r"the reference of H is .*no atom of it has"):
        references_of(in_kcal)
    rng = np.random.default_rng(1)
    noisy = [
        molecule({1: int(rng.integers(1, 9)), 6: 2}, float(5000 * rng.standard_normal())) for _ in range(30)
    ]
    with pytest.raises(InputError, match="another unit"):
        references_of(noisy)
    with pytest.raises(InputError, match=r"single atoms \(H\) may be of another method"):
        references_of([*molecules(), molecule({1: 1}, -500.0)])


def test_the_cache_is_of_the_content(tmp_path) -> None:
    write_store(molecules(), tmp_path / "a")
    write_store(molecules(binding=-3.0), tmp_path / "b")
    file = tmp_path / "references.json"
    first = references_of(Store(tmp_path / "a"), file)
    kept = json.loads(file.read_text())
    kept["value"][0]["residual"] = 0.125  # what is read from the file shows that it is read
    file.write_text(json.dumps(kept))
    assert references_of(Store(tmp_path / "a"), file)[0].residual == 0.125
    other = references_of(Store(tmp_path / "b"), file)
    assert other == references_of(Store(tmp_path / "b")) != first
    file.write_text("{ damaged")
    assert references_of(Store(tmp_path / "a"), file) == first
    graphs = molecules()
    by_list = references_of(graphs, file)
    graphs[0].quantities["energy"] += 50.0
    assert references_of(graphs, file) != by_list


def test_scales_are_isotropic() -> None:
    graph = molecule({1: 2}, -1.0)
    graph.quantities["forces"] = torch.tensor([[3.0, 0, 0], [0, 0, 4.0]], dtype=torch.float64)
    assert isotropic_scales([graph]) == {"pbe": {"forces": pytest.approx(np.sqrt(25 / 6))}}


def test_nothing_gives_nothing() -> None:
    assert fit_references(Compositions()) == []
