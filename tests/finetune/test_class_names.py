"""A target of names is a classification over them, without being told."""

import io

from rich.console import Console

from atomfield.finetune.class_names import with_class_names
from atomfield.finetune.config import FinetuneConfig


def test_names_are_found_and_said(tmp_path):
    for file, names in (("a.csv", ["low", "high", ""]), ("b.csv", ["low", "mid", "high"])):
        rows = (f"{'C' * (1 + i)},{names[i % 3]},{i}\n" for i in range(18))
        (tmp_path / file).write_text("smiles,grade,y\n" + "".join(rows))
    sources = (str(tmp_path / "a.csv"), str(tmp_path / "b.csv"))
    console = Console(file=io.StringIO(), width=200)
    config = FinetuneConfig(**{"from": "scratch"}, train=sources, target=("rank", "y"), map={"rank": "grade"})
    found = with_class_names(config, console)
    assert found.classes == {"rank": ("high", "low", "mid")}
    assert (
        "rank: its values are names, so they are classes (records): high 12, low 12, mid 6"
        in console.file.getvalue()
    )
    declared = config.model_copy(update={"classes": {"rank": ("low", "mid", "high")}})
    assert with_class_names(declared, console) == declared
    asked = config.model_copy(update={"task": "regression"})
    assert with_class_names(asked, console) == asked


def test_one_source_of_numbers_is_enough_against_it(tmp_path):
    (tmp_path / "a.csv").write_text("smiles,y\n" + "C,low\nC,high\n" * 5)
    (tmp_path / "b.csv").write_text("smiles,y\n" + "C,1\nC,0\n" * 5)
    sources = (str(tmp_path / "a.csv"), str(tmp_path / "b.csv"))
    config = FinetuneConfig(**{"from": "scratch"}, train=sources, target=("y",))
    assert with_class_names(config, Console(file=io.StringIO())).classes == {}
