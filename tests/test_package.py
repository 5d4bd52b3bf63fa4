"""What the package is as a whole: it starts fast, its rooms keep their walls, and it carries what it needs."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {
    "physics_priors": set(),
    "data": {"physics_priors"},
    "models": {"data", "physics_priors"},
    "inference": {"data", "models", "physics_priors"},
    "pretrain": {"data", "models", "physics_priors"},
    "finetune": {"data", "models", "physics_priors", "inference", "pretrain"},
}
"""Room -> the rooms that may enter."""
HEAVY = "torch deepspeed wandb transformers datasets rdkit pymatgen ase pandas matplotlib".split()
STARTS = [
    ["-c", "import atomfield"],
    ["-m", "atomfield", "--help"],
    ["-m", "atomfield", "finetune", "--help"],
]
UNSAFE_CALLS = ("eval", "exec", "torch.load", "yaml.load", "yaml.unsafe_load")
UNSAFE_MODULES = ("pickle", "dill", "joblib", "shelve", "marshal")
TEXT = (".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".ipynb", ".sh", "")
in_a_checkout = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="looks at the source tree")


# ---------------------------------------------------------------- start-up
@pytest.mark.parametrize("words", STARTS)
def test_starts_fast_and_light(words, tmp_path):
    """Under a second of processor time, and nothing heavy is imported (the best of three, since other programs run too)."""
    code, prefix = words[-1], "import sys, runpy"
    if words[0] == "-m":
        code = f"sys.argv = {words[1:]!r}; runpy.run_module('atomfield', run_name='__main__')"
    script = (
        f"{prefix}\ntry:\n    {code}\nexcept SystemExit as stop:\n    assert not stop.code\n"
        f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    best = float("inf")
    for _ in range(3):
        before = os.times()
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        after = os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        best = min(best, spent)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "HEAVY []"
        if best < 1:
            break
    assert best < 1


def test_the_public_names():
    import atomfield

    for name in ("load", "Model", "Graph", "read", "__version__"):
        assert getattr(atomfield, name) is not None


# ---------------------------------------------------------------- walls
def imports(file: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import in ``file``, inside functions too; relative ones as absolute names."""
    module = ["atomfield", *file.relative_to(ROOT).with_suffix("").parts]
    if module[1] == "api":
        del module[1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module[: -node.level]) if node.level else ""
            origin = ".".join(part for part in (base, node.module) if part)
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


@in_a_checkout
@pytest.mark.parametrize("room", ROOMS)
def test_walls(room):
    """ruff sees absolute imports; this sees relative ones and `from atomfield import load` as well."""
    trespassers = []
    for file in sorted((ROOT / room).rglob("*.py")):
        for line, name in imports(file):
            if name == "atomfield" or name.startswith("atomfield."):
                entered = [*name.split("."), ""][1]
                if entered not in {room, *ROOMS[room]}:
                    trespassers.append(f"{file.relative_to(ROOT)}:{line}: {name}")
    assert not trespassers


@in_a_checkout
@pytest.mark.parametrize("room", ROOMS)
def test_each_room_tells_ruff_its_walls(room):
    rules = tomllib.loads((ROOT / room / "ruff.toml").read_text())
    assert rules["extend"] == "../pyproject.toml"
    banned = rules["lint"]["flake8-tidy-imports"]["banned-api"]
    shut_out = {f"atomfield.{other}" for other in ROOMS if other not in {room, *ROOMS[room]}}
    assert shut_out | {"atomfield.cli"} <= set(banned)


@in_a_checkout
def test_nothing_that_executes_what_it_reads():
    """No pickle, eval or exec in the package, and no torch.load but with ``weights_only=True``: a file of a stranger is data,
    never a program."""
    found = []
    for file in sorted(f for room in (*ROOMS, "api") for f in (ROOT / room).rglob("*.py")):
        calls = [
            node
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and "weights_only=True" not in map(ast.unparse, node.keywords)
        ]
        used = [(call.lineno, name) for call in calls if (name := ast.unparse(call.func)) in UNSAFE_CALLS]
        used += [(line, name) for line, name in imports(file) if name.split(".")[0] in UNSAFE_MODULES]
        found += [f"{file.relative_to(ROOT)}:{line}: {name}" for line, name in used]
    assert not found


# ---------------------------------------------------------------- files
@in_a_checkout
def test_no_folder_shadows_the_package():
    assert not (ROOT / "atomfield").exists()


@in_a_checkout
def test_every_folder_with_code_is_packaged():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    mapped = dict(setuptools["package-dir"])
    assert set(setuptools["packages"]) == set(mapped)
    with_code = {
        f.parent.relative_to(ROOT).as_posix()
        for room in (*ROOMS, "api", "configs")
        for f in (ROOT / room).rglob("*.py")
    }
    assert with_code == set(mapped.values())
    assert all((ROOT / folder / "__init__.py").is_file() for folder in mapped.values())


def tracked_text() -> Iterator[tuple[Path, str]]:
    """Text files that belong to the project: what git tracks or would track."""
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    for name in listed.stdout.splitlines() if listed.returncode == 0 else []:
        file = ROOT / name
        if file.is_file() and file.suffix in TEXT:
            try:
                yield file, file.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


@in_a_checkout
def test_no_file_names_a_machine():
    """Nobody's home, working folder or package index stands in a file."""
    machine = re.compile(r"(?<![\w.])/(?:work|home|root|Users|opt)/\w|file://|C:\\\\Users")
    found = [f"{file.relative_to(ROOT)}: {m.group()}" for file, text in tracked_text() for m in [machine.search(text)]
             if m and file != Path(__file__)]  # fmt: skip
    assert not found


@in_a_checkout
def test_constraints_cover_the_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    wanted = [
        *project["dependencies"],
        *(d for extra in project["optional-dependencies"].values() for d in extra),
    ]
    names = {re.split(r"[<>=!\[; ]", d)[0].lower().replace("_", "-") for d in wanted}
    assert names - pinned <= {"setuptools"}


@in_a_checkout
def test_an_installed_copy_has_the_shipped_data(tmp_path):
    """What a wheel is made of, without its compression: every file of package data is there, and the names of shipped models,
    configurations and the starter corpus resolve in it, from an empty folder."""
    build = "from setuptools import setup; setup()"
    words = [
        "-q",
        "egg_info",
        "--egg-base",
        tmp_path,
        "build",
        "--build-base",
        tmp_path / "b",
        "--build-lib",
        tmp_path / "lib",
    ]
    command = [sys.executable, "-W", "ignore", "-c", build, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    copy = tmp_path / "lib"
    ours = {f.relative_to(ROOT) for folder in ("models/pretrained", "data/starter", "configs") for f in (ROOT / folder).rglob("*")
            if f.is_file() and f.suffix in (".json", ".safetensors", ".md", ".parquet", ".yaml")}  # fmt: skip
    assert ours
    assert not [f for f in ours if not (copy / "atomfield" / f).is_file()]
    script = """
import atomfield
from atomfield.config import shipped_configs
from atomfield.data.source import store_folder
from atomfield.models import checkpoint, shipped
print(atomfield.__file__)
print(sorted(shipped.folders()))
assert shipped_configs() and store_folder("starter/molecules")
for name, one in atomfield.pretrained().items():
    assert checkpoint.load(name).config.levels == one.levels
"""
    (tmp_path / "empty").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(copy), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path / "empty", env=environment, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    where, names = done.stdout.splitlines()
    assert where == str(copy / "atomfield" / "__init__.py")
    assert names == str(sorted(f.parent.name for f in (ROOT / "models" / "pretrained").glob("*/config.json")))


def test_the_starter_corpus_is_whole_and_small():
    """Shipped as package data, at most 12 MB, every shard with the sha256 of its index."""
    import atomfield.data.starter
    from atomfield.data.store import Store

    folder = Path(str(atomfield.data.starter.__file__)).parent
    stores = sorted(f.parent for f in folder.rglob("index.json"))
    assert stores
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) <= 12e6
    for store in stores:
        Store(store).verify()
        index = json.loads((store / "index.json").read_text())
        assert index["num_records"] > 0
