"""Configurations: what is read, what wins, and what a mistake is called."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from atomfield.config import find_config, load_config, shipped_configs
from atomfield.data.errors import InputError


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    source: str
    weight: float = Field(1.0, gt=0)


class Whole(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    start: str = Field("scratch", alias="from")
    steps: int = Field(10, ge=1)
    parts: tuple[Part, ...] = ()
    best: Part | None = None
    rate: float = 1e-3

    @model_validator(mode="after")
    def _even(self) -> Whole:
        if self.steps == 13:
            raise ValueError("13 steps bring bad luck")
        return self


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    return file


def refused(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        load_config(Whole, written(tmp_path, text), overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_file_then_options_then_overrides(tmp_path):
    file = written(tmp_path, "steps: 2\nrate: 1e-2\nparts:\n  - source: a\n  - {source: b, weight: 3}\n")
    options = {"steps": ("--steps", 4), "rate": ("--rate", 5e-2), "from": ("--from", None)}
    config = load_config(Whole, file, ["steps=5", "parts.1.weight=7", "best={source: c}"], options)
    assert config.steps == 5
    assert config.rate == 5e-2
    assert config.start == "scratch"
    assert [p.weight for p in config.parts] == [1.0, 7.0]
    assert config.best == Part(source="c")


def test_nothing_at_all_is_the_defaults():
    assert load_config(Whole) == Whole()


def test_an_empty_file_is_the_defaults(tmp_path):
    assert load_config(Whole, written(tmp_path, "# only a comment\n")) == Whole()


def test_overrides_make_missing_levels():
    assert load_config(Whole, None, ["best.source=x"]).best == Part(source="x")


@pytest.mark.parametrize(
    ("text", "line", "wrong", "near"),
    [
        ("setps: 3\n", 1, "setps", "steps"),
        ("rate: 1\nfrm: x\n", 2, "frm", "from"),
        ("parts:\n  - source: a\n    wieght: 2\n", 3, "parts.0.wieght", "weight"),
        ("best:\n  sourse: a\n", 2, "best.sourse", "source"),
    ],
)
def test_unknown_key_names_line_and_nearest(tmp_path, text, line, wrong, near):
    said = refused(tmp_path, text)
    assert said.startswith(f"{tmp_path / 'run.yaml'}:{line}: unknown key '{wrong}'; did you mean '{near}'?")


def test_unknown_key_without_a_near_name_lists_all(tmp_path):
    assert "expected one of from, steps, parts, best, rate" in refused(tmp_path, "zzz: 3\n")


def test_wrong_values_name_line_key_and_value(tmp_path):
    said = refused(tmp_path, "rate: 1\nsteps: 0\n")
    assert "run.yaml:2: steps: input should be greater than or equal to 1 (found 0)" in said
    assert "run.yaml:1: steps: 13 steps" not in said
    assert "13 steps bring bad luck" in refused(tmp_path, "steps: 13\n")


def test_several_mistakes_are_told_at_once(tmp_path):
    said = refused(tmp_path, "steps: 0\nrate: x\nfoo: 1\nbar: 2\n")
    assert said.count("unknown key") == 2
    assert said.endswith("; and 1 more")


def test_a_missing_key_names_the_option_that_gives_it():
    with pytest.raises(InputError, match="--source is missing"):
        load_config(Part, None, (), {"source": ("--source", None)})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps: 3\nsteps: 4\n", "run.yaml:2: key 'steps' stands here a second time"),
        ("steps: [3\n", "not readable as YAML"),
        ("- 3\n", "found a list, expected keys and values"),
        ("steps: !!python/object/apply:os.getcwd []\n", "not readable as YAML"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, text, said):
    assert said in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("steps", "--set: found 'steps', expected KEY=VALUE"),
        ("steps=x", "--set steps=x: steps: input should be a valid integer"),
        ("stepz=1", "--set stepz=1: unknown key 'stepz'; did you mean 'steps'?"),
        ("parts.2.weight=1", "parts is a list of 1 items, counted from 0"),
        ("steps.a=1", "steps is a single value"),
        ("best=[", "is not readable as YAML"),
    ],
)
def test_overrides_that_are_wrong(tmp_path, override, said):
    assert said in refused(tmp_path, "steps: 1\nparts: [{source: a}]\n", override)


def test_missing_file_lists_what_is_shipped(tmp_path):
    with pytest.raises(
        InputError, match="no such file, expected a YAML configuration; shipped with the package"
    ):
        find_config(tmp_path / "nothing.yaml")
    with pytest.raises(InputError, match="is a folder"):
        find_config(tmp_path)


@pytest.mark.parametrize("name", shipped_configs())
def test_shipped_configurations_are_found_by_name_and_say_how_to_run_them(name):
    from atomfield.data.generate.corpus import config_path, read_yaml
    from atomfield.finetune.config import FinetuneConfig
    from atomfield.finetune.identify_config import IdentifyConfig
    from atomfield.pretrain.config import PretrainConfig

    file = shipped_configs()[name]
    text = file.read_text()
    if name.startswith("corpus/"):  # read by the generators
        assert config_path(name) == file and read_yaml(file)["make"] in name
        assert text.startswith(f"# python -m atomfield.data.generate {name} ")
        return
    kind: type[BaseModel] = PretrainConfig if "streams:" in text else FinetuneConfig
    if name.startswith("identify/"):
        kind = IdentifyConfig
    assert load_config(kind, name) == load_config(kind, file)
    assert text.startswith("# ")
    assert "atomfield" in text.split("\n")[0]
