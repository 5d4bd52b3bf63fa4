"""i-PI moves the atoms: an exported file in its own metatomic driver, and our calculator behind its socket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.socketio import SocketClient
from ase.io import write

from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.metatomic import export_metatomic
from atomfield.models.network import AtomFieldNet
from tests.small import small_network

pytest.importorskip("ipi")
pytestmark = pytest.mark.filterwarnings("ignore")  # ASE's sockets and torch's TorchScript warn of themselves

INPUT = """<simulation verbosity='quiet'>
  <output prefix='run'>
    <properties filename='out'> [ step, conserved{{electronvolt}}, potential{{electronvolt}} ] </properties>
  </output>
  <total_steps> {steps} </total_steps>
  <prng> <seed> 7 </seed> </prng>
  {forcefield}
  <system>
    <initialize nbeads='{beads}'>
      <file mode='ase'> start.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces> <force forcefield='atomfield'/> </forces>
    <ensemble> <temperature units='kelvin'> 300 </temperature> </ensemble>
    <motion mode='dynamics'>
      <dynamics mode='nve'> <timestep units='femtosecond'> 0.25 </timestep> </dynamics>
    </motion>
  </system>
</simulation>
"""
FILE = """<ffdirect name='atomfield'>
    <pes> metatomic </pes>
    <parameters> {template: start.xyz, model: model.pt} </parameters>
  </ffdirect>"""
SOCKET = "<ffsocket name='atomfield' mode='unix'> <address> {name} </address> </ffsocket>"
BEADS = """
import json, sys
import numpy as np
from ipi.scripting import InteractiveSimulation
from ipi.utils.units import unit_to_user

simulation, found = InteractiveSimulation(open("input.xml").read()), []
for _ in range(3):
    system = simulation.syslist[0]
    found.append({
        "positions": (unit_to_user("length", "angstrom", 1.0) * np.array(system.beads.q)).tolist(),
        "energies": (unit_to_user("energy", "electronvolt", 1.0) * np.array(system.forces.pots)).tolist(),
        "forces": (unit_to_user("force", "ev/ang", 1.0) * np.array(system.forces.f)).tolist(),
    })
    simulation.run(5, write_outputs=False)
open("found.json", "w").write(json.dumps(found))
"""
SERVER = """
from ipi.engine.simulation import Simulation
from ipi.utils.softexit import softexit

simulation = Simulation.load_from_xml(open("input.xml"))
softexit.hard_exit = True
simulation.run()
softexit.trigger(status=simulation.exit_status, message=simulation.exit_message)
"""


@pytest.fixture(scope="module")
def net() -> AtomFieldNet:
    net = small_network(layers=1, lmax=2, channels=4, channels_unnatural=2, cutoff=4.0).double()
    net.atom_head.reference[0, [1, 6, 8]] = torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64)
    return net


@pytest.fixture
def start(tmp_path: Path) -> Atoms:
    """A molecule in a box, since i-PI always has one."""
    atoms = Atoms("CH3O", np.random.default_rng(3).uniform(0, 3.0, (5, 3)), cell=[40.0] * 3, pbc=True)
    write(tmp_path / "start.xyz", atoms)
    return atoms


def test_an_exported_file_drives_a_path_integral(net: AtomFieldNet, start: Atoms, tmp_path: Path) -> None:
    pytest.importorskip("metatomic.torch")
    export_metatomic(net, tmp_path / "model.pt")
    (tmp_path / "input.xml").write_text(INPUT.format(steps=100, beads=4, forcefield=FILE))
    ran = subprocess.run([sys.executable, "-c", BEADS], cwd=tmp_path, capture_output=True, text=True)
    assert (tmp_path / "found.json").exists(), ran.stdout[-2000:] + ran.stderr[-2000:]
    found = json.loads((tmp_path / "found.json").read_text())
    start.calc = AtomFieldCalculator(net)
    paths = [np.array(one["positions"]).reshape(4, -1, 3) for one in found]
    assert np.abs(paths[-1] - paths[0]).max() > 1e-3
    assert np.abs(paths[-1][0] - paths[-1][1]).max() > 1e-4, "the beads are one"
    for path, one in zip(paths, found, strict=True):
        for bead, energy, forces in zip(path, one["energies"], one["forces"], strict=True):
            start.positions[:] = bead
            assert energy == pytest.approx(start.get_potential_energy(), abs=1e-6)
            np.testing.assert_allclose(np.reshape(forces, (-1, 3)), start.get_forces(), atol=1e-6)


def test_our_calculator_behind_its_socket(net: AtomFieldNet, start: Atoms, tmp_path: Path) -> None:
    name = f"atomfield_{os.getpid()}"
    (tmp_path / "input.xml").write_text(INPUT.format(steps=20, beads=1, forcefield=SOCKET.format(name=name)))
    server = subprocess.Popen([sys.executable, "-c", SERVER], cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        energies = answer(name, start, net)
        assert server.wait(timeout=120) == 0
    finally:
        server.kill()
    step, conserved, potential = np.loadtxt(tmp_path / "run.out").T
    assert len(step) == 21
    np.testing.assert_allclose(potential, energies[: len(step)], atol=1e-6)
    assert np.ptp(conserved) < 0.01 * np.ptp(potential)


def answer(name: str, atoms: Atoms, net: AtomFieldNet) -> list[float]:
    """Energies that the calculator gave until the server was done."""
    for _ in range(600):
        if Path(f"/tmp/ipi_{name}").exists():
            break
        time.sleep(0.1)
    atoms.calc, found = AtomFieldCalculator(net), []
    for _ in SocketClient(unixsocket=name).irun(atoms):
        found.append(atoms.get_potential_energy())
    return found
