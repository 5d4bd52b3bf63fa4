"""The training checkpoint: everything needed to continue to the bit, committed by one rename.

DeepSpeed writes its files into ``step-N.tmp``; we add our own state, fsync, write a manifest of sha256
and rename to ``step-N``. The newest
complete folder IS the latest checkpoint; there is no pointer file to trust. DeepSpeed's files are pickles, therefore a
training checkpoint is never published and its manifest is verified before DeepSpeed may read it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from atomfield.data.errors import InputError

from .ema import Ema
from .engine import DeepSpeedEngine

TAG = "state"


def save(
    folder: Path, step: int, engine: DeepSpeedEngine, ema: Ema, state: dict[str, Any], keep_last: int
) -> None:
    """Collective: every rank calls it. ``state`` is JSON (seconds spent, configuration hash)."""
    final, temporary = folder / f"step-{step:08d}", folder / f"step-{step:08d}.tmp"
    if is_main():
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    barrier()
    engine.engine.save_checkpoint(str(temporary), tag=TAG, save_latest=False)
    barrier()
    if is_main():
        save_file({k: v.contiguous() for k, v in ema.average.items()}, temporary / "ema.safetensors")
        (temporary / "trainer.json").write_text(
            json.dumps({"step": step, "ema_updates": ema.updates, **state})
        )
        commit(temporary, final)
        for old in complete(folder)[:-keep_last]:
            shutil.rmtree(old)
    barrier()


def commit(temporary: Path, final: Path) -> None:
    """fsync every file, write and fsync the manifest, rename, fsync the parent."""
    manifest = {}
    for file in sorted(p for p in temporary.rglob("*") if p.is_file()):
        _fsync(file)
        manifest[str(file.relative_to(temporary))] = {"bytes": file.stat().st_size, "sha256": sha256(file)}
    listing = temporary / "manifest.json"
    listing.write_text(json.dumps(manifest, indent=1))
    _fsync(listing)
    if final.exists():
        shutil.rmtree(final)
    os.rename(temporary, final)
    _fsync(final.parent)


def complete(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first; a folder without a manifest does not count."""
    if not folder.is_dir():
        return []
    found = [p for p in folder.glob("step-*") if p.suffix != ".tmp" and (p / "manifest.json").is_file()]
    return sorted(found)


def verify(checkpoint: Path) -> None:
    """Compare every file with the manifest; raises InputError naming the first that differs."""
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    for name, expected in manifest.items():
        file = checkpoint / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise InputError(f"manifest names {name!r}, outside the checkpoint", str(checkpoint))
        if not file.is_file():
            raise InputError(
                "file is missing from the checkpoint; remove this folder to use the one before", str(file)
            )
        found = sha256(file)
        if found != expected["sha256"]:
            raise InputError(
                f"sha256 is {found[:12]}..., the manifest says {expected['sha256'][:12]}...; the file is damaged, "
                "remove this checkpoint folder to use the one before",
                str(file),
            )


def load(checkpoint: Path, engine: DeepSpeedEngine, ema: Ema) -> dict[str, Any]:
    """Verified; restores weights, optimiser and average on every rank and returns the JSON state."""
    if is_main():
        verify(checkpoint)
    barrier()
    loaded, _ = engine.engine.load_checkpoint(str(checkpoint), tag=TAG)
    if loaded is None:
        raise InputError("DeepSpeed found nothing to load in this checkpoint", str(checkpoint))
    state = json.loads((checkpoint / "trainer.json").read_text())
    ema.average = {k: v.to(ema.average[k]) for k, v in load_file(checkpoint / "ema.safetensors").items()}
    ema.updates = state["ema_updates"]
    return state


def sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def is_main() -> bool:
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0


def barrier() -> None:
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(torch.zeros(1, device="cuda" if dist.get_backend() == "nccl" else "cpu"))


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
