"""The public checkpoint: ``config.json`` + ``model.safetensors`` + ``README.md``. Nothing executes on load."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from atomfield.data.errors import InputError

from . import shipped
from .config import FORMAT_VERSION, WITHOUT_TREES, NetworkConfig
from .network import AtomFieldNet

PREFIX = "net."
"""Weights carry it so that ``transformers.AutoModel`` reads the same file (see ``hub.py``)."""


def save(net: AtomFieldNet, folder: str | Path, card: str = "") -> Path:
    """Write the three files into ``folder`` (made if needed), each through a temporary name so that none is ever half written."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        weights = {PREFIX + k: v.detach().cpu().contiguous().clone() for k, v in net.state_dict().items()}
        save_file(weights, temporary / "model.safetensors", metadata={"format": "pt"})
        (temporary / "config.json").write_text(json.dumps(as_json(net.config), indent=2) + "\n")
        (temporary / "README.md").write_text(card or "# AtomField checkpoint\n")
        folder.mkdir(exist_ok=True)
        for name in ("model.safetensors", "config.json", "README.md"):
            os.chmod(temporary / name, 0o644)
            os.replace(temporary / name, folder / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def as_json(config: NetworkConfig) -> dict[str, Any]:
    """The content of ``config.json``, which names the oldest format version that has everything in it."""
    network = config.model_dump(mode="json")
    if not any(p.trees for p in config.properties):
        network["format_version"] = WITHOUT_TREES
    return {"model_type": "atomfield", "architectures": ["AtomFieldModel"], "network": network}


def find(path: str | Path) -> Path:
    """The folder with ``config.json``: ``path`` itself, its ``model/``, or the shipped model of that name where nothing lies at
    ``path``."""
    path = Path(path)
    for folder in (path, path / "model"):
        if (folder / "config.json").is_file():
            return folder
    if (named := shipped.folder_of(path)) is not None:
        return named
    found = "a folder without config.json" if path.is_dir() else "a file" if path.exists() else "nothing"
    is_hidden = str(path) in shipped.folders()
    hidden = f"; it hides the shipped model {path}, give another folder its name" if is_hidden else ""
    raise InputError(
        f"found {found}, expected a checkpoint: a folder with config.json and model.safetensors (or one "
        f"whose model/ has them), or a shipped model: {shipped.known_names()}{hidden}",
        str(path),
    )


def read_config(path: str | Path) -> NetworkConfig:
    """The hyper-parameters of a checkpoint, without its weights."""
    file = find(path) / "config.json"
    try:
        content = json.loads(file.read_text())
        network = content["network"]
        version = network.get("format_version", 0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"not the configuration of an AtomField checkpoint ({error!r})", str(file)
        ) from error
    if version > FORMAT_VERSION:
        raise InputError(
            f"format version {version} is newer than this AtomField reads ({FORMAT_VERSION}); upgrade "
            "the package",
            str(file),
        )
    try:
        return NetworkConfig(**network)
    except (ValidationError, TypeError) as error:
        raise InputError(f"invalid network configuration: {error}".replace("\n", " "), str(file)) from error


def load(
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> AtomFieldNet:
    """A network in evaluation mode, in the precision of its file unless ``dtype`` names another.

    float64 recomputes nothing: constants are float64 in the file. Raises ``InputError`` for what is no checkpoint and for a
    device that is not there.
    """
    config = read_config(path)
    file = find(path) / "model.safetensors"
    if not file.is_file():
        raise InputError("no model.safetensors beside config.json", str(file.parent))
    net = AtomFieldNet(config)
    try:
        weights = {k.removeprefix(PREFIX): v for k, v in load_file(file).items()}
        if all(v.dtype == torch.float64 for v in weights.values() if v.is_floating_point()):
            net.double()
        net.load_state_dict(weights, strict=True)
    except SafetensorError as error:
        raise InputError(f"not a readable safetensors file ({error})", str(file)) from error
    except RuntimeError as error:
        raise InputError(
            "weights do not fit config.json: " + " ".join(str(error).split())[:300], str(file)
        ) from error
    return placed(cast(net, dtype), device).eval()


def placed(net: AtomFieldNet, device: str | torch.device | None) -> AtomFieldNet:
    """``net`` on ``device`` (None: where it is). Raises ``InputError`` where torch has no such device."""
    try:
        return net.to(device)
    except torch.OutOfMemoryError:
        raise
    except (AssertionError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise InputError(f"device {str(device)!r} cannot be used ({reason}); take 'cpu'") from error


def cast(net: AtomFieldNet, dtype: torch.dtype | None) -> AtomFieldNet:
    """Parameters as ``dtype`` (None: as they are); float64 buffers (tables, references, scales) stay float64."""
    if dtype is not None:
        for parameter in net.parameters():
            parameter.data = parameter.data.to(dtype)
    return net
