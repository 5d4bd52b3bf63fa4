"""The model card: every part measured on a tiny network, kept, and put into one page that names its weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from atomfield.models import checkpoint
from tests.small import small_network

pytest.importorskip("tblite")
from benchmarks import pretrained_card

crystals, reference = pretrained_card.crystals, pretrained_card.reference
SPECIES = reference.task_species()
LEVELS = ("gfn2-xtb", "emt", "navier-stokes-2d")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network whose energies hardly vary. Copper is the only crystal, formamide and ethylamine are the molecules."""
    net = small_network(levels=LEVELS, perturb=0.0).eval()
    net.config = net.config.model_copy(update={"crystal_levels": ("emt",)})
    with torch.no_grad():
        net.atom_head.reference.zero_()
        net.atom_head.reference[0, [1, 6, 7, 8]] = -1.0
        net.atom_head.reference[1, 29] = -1.0
    for module in (crystals, pretrained_card):
        monkeypatch.setattr(module, "CRYSTALS", (reference.Crystal("Cu", "fcc", 3.615),))
    monkeypatch.setattr(
        reference, "task_species", lambda: [s for s in SPECIES if s.smiles in ("NC=O", "CCN")]
    )
    monkeypatch.setattr(pretrained_card, "MOVING", "NC=O")
    reference.minima.cache_clear()
    return checkpoint.save(net, tmp_path / "atomfield-t")


def test_every_part_is_measured_once_and_the_card_says_of_which_weights(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--model",
        str(model),
        "--results",
        str(tmp_path / "results"),
        "--corpus",
        "starter/molecules,starter/crystals",
    ]
    words += ["--picoseconds", "0.01", "--molecules", "2", "--flows", "1"]
    assert pretrained_card.main(words) == 0
    told = capsys.readouterr().out
    sha256 = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    card = (model / "README.md").read_text()
    assert sha256 in card
    for text in (
        "3,436",
        "| Cu (fcc) | `emt` |",
        "held-out flows",
        "sum of all forces",
        "`NC=O` from 300 K",
        "Apache-2.0",
    ):
        assert text in card, text
    assert "Not measured" not in card
    results = {
        f.stem: json.loads(f.read_text()) for f in (tmp_path / "results" / "atomfield-t").glob("*.json")
    }
    assert set(results) == set(pretrained_card.parts(None, None, None, ""))  # type: ignore[arg-type]
    assert all(one["sha256"] == sha256 for one in results.values())
    laws = results["laws"]["result"]["float64"]
    assert max(laws[k] for k in laws if k != "gradient_eV_per_A") < 1e-8
    assert results["errors"]["result"]["zero_forces_mae_eV_per_A"] > 0.1
    assert results["lattices"]["result"]["rows"][0]["reference"]["a_A"] == pytest.approx(
        3.59, abs=0.01
    )  # ASE's EMT
    assert (tmp_path / "results" / "atomfield-t" / "dimers.png").stat().st_size > 1000
    assert "errors: " in told
    assert pretrained_card.main(words) == 0
    assert "errors: " not in capsys.readouterr().out  # nothing is measured again


def test_results_of_other_weights_are_not_taken(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "results" / "atomfield-t"
    folder.mkdir(parents=True)
    (folder / "errors.json").write_text(json.dumps({"sha256": "0" * 64, "result": {"molecules": 1}}))
    words = ["--model", str(model), "--results", str(tmp_path / "results"), "--card-only"]
    assert pretrained_card.main(words) == 0
    assert "Not measured for these weights yet: errors" in (model / "README.md").read_text()
    assert pretrained_card.main([*words[:4], "--only", "erors"]) == 2
    assert "part 'erors' is unknown, expected some of errors, geometry" in capsys.readouterr().err
