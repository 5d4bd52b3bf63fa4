"""The training checkpoint: everything needed to continue to the bit, committed by one rename.

``step-N.tmp`` is written, synced, listed with sha256 in ``manifest.json`` and renamed to ``step-N``. The newest ``step-N`` IS the
latest checkpoint; there is no pointer file to trust. Its files are safetensors and JSON, whole tensors by parameter name, so any
number of ranks and any ZeRO stage continues from it, and nothing executes on load.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from atomfield.data.errors import InputError, RunError

from .ema import Ema
from .ranks import barrier, from_main, gathered, is_main, own_rank
from .state import Engine, load_whole_state, whole_state

MANIFEST = "manifest.json"
TMP = ".tmp"
FREE = 1.05
"""Before a checkpoint is written, so many times its size must be free."""


def save(
    folder: Path,
    engine: Engine,
    ema: Ema,
    state: dict[str, Any],
    keep_last: int,
    keep_best: int = 0,
    more: dict[str, dict[str, Tensor]] | None = None,
) -> None:
    """Collective: every rank calls it. ``state`` is JSON with ``step`` and, where it is known, ``score`` (lower is better).
    more: further files of tensors, by name.

    Raises ``RunError`` on every rank if rank 0 cannot write: what was half written is removed, the checkpoints from before stay.
    """
    tensors, scalars = whole_state(engine)
    parts = {"training": tensors, "ema": ema.average, "random": _generators(), **(more or {})}
    problem = ""
    if is_main():
        final = folder / f"step-{state['step']:08d}"
        temporary = final.with_name(final.name + TMP)
        trainer = {**state, "ema_updates": ema.updates, "optimizer_scalars": _shared(scalars)}
        try:
            with _removed_on_failure(temporary):
                _write(temporary, {**parts, "constants": constants_of(ema.module)}, trainer)
                commit(temporary, final)
        except (OSError, SafetensorError) as error:
            problem = _told(error, final)
        else:
            prune(folder, keep_last, keep_best)
    if problem := from_main(problem):
        raise RunError(problem)


def _write(temporary: Path, parts: dict[str, dict[str, Tensor]], trainer: dict[str, Any]) -> None:
    size = sum(t.numel() * t.element_size() for part in parts.values() for t in part.values())
    free = shutil.disk_usage(temporary.parent).free
    if free < FREE * size:
        raise OSError(errno.ENOSPC, f"{size / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free")
    for name, part in parts.items():
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in part.items()}, temporary / f"{name}.safetensors"
        )
    (temporary / "trainer.json").write_text(json.dumps(trainer))


@contextmanager
def _removed_on_failure(temporary: Path) -> Iterator[None]:
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _told(error: Exception, final: Path) -> str:
    full = getattr(error, "errno", None) == errno.ENOSPC or "os error 28" in str(error)
    what = "the disk is full" if full else "it could not be written"
    before = complete(final.parent)
    left = f"the last good checkpoint is {before[-1]}" if before else "there is no checkpoint before it"
    return f"{final}: {what} ({error}); {left}. Make room and give the same command again"


def _shared(scalars: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Scalars once per value instead of once per parameter."""
    groups: dict[str, list[str]] = {}
    for name, own in scalars.items():
        groups.setdefault(json.dumps(own), []).append(name)
    return [{"scalars": json.loads(own), "parameters": names} for own, names in groups.items()]


def commit(temporary: Path, final: Path) -> None:
    """fsync every file, write and fsync the manifest, rename, fsync the parent."""
    files = {}
    for file in sorted(p for p in temporary.rglob("*") if p.is_file()):
        _fsync(file)
        files[str(file.relative_to(temporary))] = {"bytes": file.stat().st_size, "sha256": sha256(file)}
    (temporary / MANIFEST).write_bytes(_manifest(files))
    _fsync(temporary / MANIFEST)
    _fsync(temporary)
    if final.exists():
        _discard(final)
    os.rename(temporary, final)
    _fsync(final.parent)


def _manifest(files: dict[str, Any]) -> bytes:
    """The manifest's text; it carries the sha256 of its own list, so that a changed byte shows here too."""
    own = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    return json.dumps({"files": files, "sha256": own}, indent=1, sort_keys=True).encode()


def complete(folder: Path) -> list[Path]:
    """Committed checkpoints, oldest first. What was not renamed yet does not count."""
    return (
        sorted(p for p in folder.glob("step-*") if p.suffix != TMP and p.is_dir()) if folder.is_dir() else []
    )


def prune(folder: Path, keep_last: int, keep_best: int) -> None:
    """Remove all but the last ``keep_last`` checkpoints and the ``keep_best`` ones with the lowest score."""
    found = complete(folder)
    scored = [(score, path) for path in found if (score := score_of(path)) is not None]
    kept = {*found[-keep_last:], *(path for _, path in sorted(scored)[:keep_best])}
    for path in found:
        if path not in kept:
            _discard(path)


def score_of(checkpoint: Path) -> float | None:
    """The validation score at the time of the checkpoint, where there was one."""
    try:
        return json.loads((checkpoint / "trainer.json").read_text()).get("score")
    except (OSError, ValueError):  # damaged; told when someone wants to continue from it
        return None


def _discard(checkpoint: Path) -> None:
    """Renamed first: a kill in between leaves no half of a checkpoint under the name of a whole one."""
    aside = checkpoint.with_name(checkpoint.name + ".old" + TMP)
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(checkpoint, aside)
    shutil.rmtree(aside)


def remove_unfinished(folder: Path) -> None:
    """What a killed run left behind half written."""
    for path in folder.glob(f"step-*{TMP}"):
        shutil.rmtree(path)


def verify(checkpoint: Path) -> None:
    """Compare every file with the manifest; raises ``InputError`` naming the first that differs and the way to the checkpoint
    before."""
    before = [p for p in complete(checkpoint.parent) if p < checkpoint]
    way = f"remove the folder {checkpoint} to go on from " + (str(before[-1]) if before else "the beginning")
    listing = checkpoint / MANIFEST
    if not listing.is_file():
        raise InputError(f"the file is missing; {way}", str(listing))
    try:
        files = json.loads(listing.read_bytes())["files"]
        intact = listing.read_bytes() == _manifest(files)
    except (ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        raise InputError(f"the file is damaged: its own sha256 does not fit; {way}", str(listing))
    for name, expected in files.items():
        file = checkpoint / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise InputError(f"manifest names {name!r}, outside the checkpoint", str(checkpoint))
        if not file.is_file():
            raise InputError(f"the file is missing from the checkpoint; {way}", str(file))
        if (size := file.stat().st_size) != expected["bytes"]:
            raise InputError(
                f"{size} bytes, the manifest says {expected['bytes']}; the file is damaged, {way}", str(file)
            )
        if (found := sha256(file)) != expected["sha256"]:
            raise InputError(
                f"sha256 is {found[:12]}..., the manifest says {expected['sha256'][:12]}...; the file is damaged, {way}",
                str(file),
            )


def opened(checkpoint: Path) -> dict[str, Any]:
    """Collective. The JSON state of a checkpoint that rank 0 has verified and that every rank can read. Raises ``InputError`` on
    all of them otherwise."""
    problem: tuple[str, str] | None = None
    if is_main():
        try:
            verify(checkpoint)
        except InputError as error:
            problem = (error.message, str(error.where or ""))
    if (problem := from_main(problem)) is not None:
        raise InputError(*problem)
    state: dict[str, Any] = {}
    try:
        state = json.loads((checkpoint / "trainer.json").read_text())
    except OSError as error:
        problem = (f"a rank on {platform.node()} cannot read it ({error.strerror}); `out` must be a folder that all nodes "
                   "share", str(checkpoint))  # fmt: skip
    if problems := [found for found in gathered(problem) if found is not None]:
        raise InputError(*problems[0])
    return state


def load(checkpoint: Path, state: dict[str, Any], engine: Engine, ema: Ema) -> list[str]:
    """Collective. Restores weights, optimiser, average, constants and generators on every rank; ``state`` is what :func:`opened`
    gave.
    Returns the names of constants that were others before (relative difference above 1e-6): those of other records."""
    scalars = {name: s["scalars"] for s in state["optimizer_scalars"] for name in s["parameters"]}
    load_whole_state(engine, load_file(checkpoint / "training.safetensors"), scalars)
    with torch.no_grad():
        for name, value in load_file(checkpoint / "ema.safetensors").items():
            ema.average[name].copy_(value)
    ema.updates = state["ema_updates"]
    file = checkpoint / "constants.safetensors"  # checkpoints of older versions have none
    constants = load_file(file) if file.is_file() else {}
    others = _put(constants, engine.module)
    _put(constants, ema.module)  # with ZeRO 3 another one
    _set_generators(checkpoint / "random.safetensors")
    barrier()  # nobody trains, and prunes, while another one reads
    return others


def _generators() -> dict[str, Tensor]:
    """Collective. torch's generators of each rank, ``cpu/RANK`` and ``cuda/RANK``: dropout draws from them."""
    ranks = gathered(own_generators())
    return {f"{kind}/{rank}": state for rank, its in enumerate(ranks) for kind, state in its.items()}


def _set_generators(file: Path) -> None:
    """Put back this rank's own; a rank, or a GPU, that was not there keeps what it has, and so do all with checkpoints of older
    versions."""
    states, rank = load_file(file) if file.is_file() else {}, own_rank()
    found = {kind: states.get(f"{kind}/{rank}") for kind in ("cpu", "cuda")}
    set_own_generators({kind: state for kind, state in found.items() if state is not None})


def own_generators() -> dict[str, Tensor]:
    """The states of this process's generators, by kind of device."""
    own = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        own["cuda"] = torch.cuda.get_rng_state()
    return own


def set_own_generators(states: dict[str, Tensor]) -> None:
    """Put them back, where there is such a device."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(states["cuda"])


def constants_of(module: nn.Module) -> dict[str, Tensor]:
    """What the public checkpoint holds besides parameters: tables, and the scales and references that were fitted to the records
    at the start. Fitted again to other records they would not be those that the weights were trained with."""
    trained = dict(module.named_parameters())
    return {name: value.clone() for name, value in module.state_dict().items() if name not in trained}


@torch.no_grad()
def _put(constants: dict[str, Tensor], module: nn.Module) -> list[str]:
    """Put ``constants`` into ``module``; names of those that were others."""
    others = []
    for name, value in module.state_dict().items():
        if name in constants:
            if not torch.allclose(value, constants[name].to(value), rtol=1e-6, atol=1e-12):
                others.append(name)
            value.copy_(constants[name])  # the module's own tensor
    return others


def sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
