"""A Fourier neural operator (neuraloperator) for a given time, then its rollouts of the test set as given and turned.

Run by ``benchmarks/field_models.py`` in the environment of ``make_env.sh neuralop``. Channels in: velocity in units of its RMS,
the solid, the logarithm of the viscosity; the grid's coordinates are the library's own embedding. Out: the increment of the
velocity in units of its RMS. Relative L2 loss, AdamW with a cosine that ends with the time, the weights of the best validation.
Input noise of 1 % of the RMS, as ours has, against error growth in rollouts.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from neuralop.losses import LpLoss
from neuralop.models import FNO

NOISE, BATCH, WIDTH, MODES, LAYERS = 0.01, 16, 32, 12, 4


class Stepper(torch.nn.Module):
    """``velocity [B, 2, nx, ny]`` one step later."""

    def __init__(self, train: dict[str, np.ndarray]):
        super().__init__()
        velocity = train["velocity"]
        self.rms = float(np.sqrt(np.square(velocity).mean()))
        self.increment = float(np.sqrt(np.square(np.diff(velocity, axis=1)).mean()))
        logs = np.log(train["viscosity"])
        self.center, self.spread = float(logs.mean()), float(max(logs.std(), 1e-6))
        sides = velocity.shape[2:4]
        modes = tuple(min(MODES, n // 2) for n in sides)
        self.net = FNO(
            n_modes=modes, in_channels=4, out_channels=2, hidden_channels=WIDTH, n_layers=LAYERS,
            domain_padding=None if bool(train["periodic"]) else 0.125,
        )  # fmt: skip

    def forward(self, velocity, solid, viscosity):
        """The increment in units of its RMS."""
        level = ((viscosity.log() - self.center) / self.spread)[:, None, None, None].expand(
            -1, 1, *solid.shape[1:]
        )
        return self.net(torch.cat([velocity / self.rms, solid[:, None].float(), level], 1).float())

    def advance(self, velocity, solid, viscosity):
        return velocity + self.increment * self(velocity, solid, viscosity)


def tensors(arrays: dict[str, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    velocity = torch.from_numpy(arrays["velocity"]).permute(0, 1, 4, 2, 3).contiguous()
    return velocity, torch.from_numpy(arrays["solid"]), torch.from_numpy(arrays["viscosity"])


def rollout(model: Stepper, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """``[S, T, nx, ny, 2]`` from the first state."""
    velocity, solid, viscosity = tensors(arrays)
    states = [velocity[:, 0]]
    with torch.no_grad():
        for _ in range(velocity.shape[1] - 1):
            states.append(model.advance(states[-1], solid, viscosity))
    return torch.stack(states, 1).permute(0, 1, 3, 4, 2).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder with train, valid, test and turned .npz")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.monotonic()
    torch.manual_seed(options.seed)
    parts = {n: dict(np.load(options.work / f"{n}.npz")) for n in ("train", "valid", "test", "turned")}
    model = Stepper(parts["train"])
    velocity, solid, viscosity = tensors(parts["train"])
    held = tensors(parts["valid"])
    pairs = [(s, t) for s in range(velocity.shape[0]) for t in range(velocity.shape[1] - 1)]
    loss = LpLoss(d=2, p=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    random = np.random.default_rng(options.seed)
    best, kept, steps, checked = math.inf, None, 0, 0.0
    while (spent := time.monotonic() - started) < options.seconds:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * 0.5 * (1 + math.cos(math.pi * min(1.0, spent / options.seconds)))
        s, t = (
            torch.tensor(x)
            for x in zip(*[pairs[i] for i in random.integers(len(pairs), size=BATCH)], strict=True)
        )
        now, then = velocity[s, t], velocity[s, t + 1]
        noisy = now + NOISE * model.rms * torch.randn_like(now)
        error = loss(model(noisy, solid[s], viscosity[s]), (then - noisy) / model.increment)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        steps += 1
        if spent - checked > options.seconds / 20:
            checked = spent
            with torch.no_grad():
                found = 0.0
                for k in range(held[0].shape[0]):
                    count = held[0].shape[1] - 1
                    out = model.advance(
                        held[0][k, :-1], held[1][k].expand(count, -1, -1), held[2][k].expand(count)
                    )
                    found += float((out - held[0][k, 1:]).square().mean())
            if found < best:
                best, kept = (
                    found,
                    {n: p.clone() for n, p in model.state_dict().items() if torch.is_tensor(p)},
                )
    if kept is not None:
        model.load_state_dict(kept, strict=False)
    training_s = time.monotonic() - started
    np.savez(
        options.work / "forecast.npz",
        test=rollout(model, parts["test"]),
        turned=rollout(model, parts["turned"]),
    )
    about = {
        "training_s": training_s, "steps": steps, "parameters": sum(p.numel() for p in model.parameters()),
    }  # fmt: skip
    (options.work / "training.json").write_text(json.dumps(about))


if __name__ == "__main__":
    main()
