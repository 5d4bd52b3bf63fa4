"""Small ``vasprun.xml`` and ``OUTCAR`` texts in VASP's layout: three ionic steps of SiC in a skewed cell."""

from __future__ import annotations

import numpy as np

CELL = np.array([[3.1, 0.0, 0.0], [0.5, 3.2, 0.0], [0.25, 0.125, 3.3]])
FRACTIONAL = np.array([[0.0, 0.0, 0.0], [0.25, 0.25, 0.25]])
STRESS = np.array([[10.0, 1.0, 2.0], [1.0, -20.0, 3.0], [2.0, 3.0, 30.0]])
"""As VASP prints it: kbar, positive under compression."""
FREE, SMEARING = -15.25, 0.05


def _forces(step: int) -> np.ndarray:
    force = np.array([0.101234, -0.2, 0.3]) + step
    return np.stack([force, -force])


def _rows(name: str, rows: np.ndarray) -> str:
    body = "".join("<v> " + " ".join(f"{x:.8f}" for x in row) + " </v>\n" for row in rows)
    return f'<varray name="{name}" >\n{body}</varray>\n'


def _structure() -> str:
    return f"<structure>\n<crystal>\n{_rows('basis', CELL)}</crystal>\n{_rows('positions', FRACTIONAL)}</structure>\n"


def _energies(free: float, zero: float) -> str:
    names = {"e_fr_energy": free, "e_wo_entrp": free + 2 * SMEARING, "e_0_energy": zero}
    return "<energy>\n" + "".join(f'<i name="{k}"> {v:.8f} </i>\n' for k, v in names.items()) + "</energy>\n"


def vasprun(steps: int = 3, nelm: int = 60) -> str:
    """The XML; two electronic steps in each ionic one."""
    atoms = "".join(f"<rc><c>{s}</c><c> {i}</c></rc>\n" for i, s in enumerate(("Si", "C "), 1))
    kinds = "".join(
        f"<rc><c> 1</c><c>{s}</c><c>1.0</c><c>4.0</c><c>PAW_PBE {s} x</c></rc>\n" for s in ("Si", "C")
    )
    head = (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n'
        '<generator>\n<i name="program" type="string">vasp </i>\n<i name="version" type="string">5.4.4 </i>\n</generator>\n'
        '<incar>\n<i type="string" name="PREC">accurate</i>\n</incar>\n'
        '<kpoints>\n<varray name="kpointlist" >\n<v> 0.0 0.0 0.0 </v>\n</varray>\n'
        '<varray name="weights" >\n<v> 1.0 </v>\n</varray>\n</kpoints>\n'
        f'<parameters>\n<separator name="electronic" >\n<i type="int" name="NELM"> {nelm}</i>\n</separator>\n</parameters>\n'
        "<atominfo>\n<atoms> 2 </atoms>\n<types> 2 </types>\n"
        f'<array name="atoms" >\n<set>\n{atoms}</set>\n</array>\n'
        f'<array name="atomtypes" >\n<set>\n{kinds}</set>\n</array>\n</atominfo>\n'
        + _structure().replace("<structure>", '<structure name="initialpos" >')
    )
    body = ""
    for i in range(steps):
        free = FREE + i
        loop = "<scstep>\n" + _energies(free, free + SMEARING) + "</scstep>\n"
        labels = _rows("forces", _forces(i)) + _rows("stress", STRESS * (i + 1))
        body += (
            "<calculation>\n" + loop * 2 + _structure() + labels + _energies(free, 0.0) + "</calculation>\n"
        )
    return head + body + _structure().replace("<structure>", '<structure name="finalpos" >') + "</modeling>\n"


def outcar(steps: int = 3, nelm: int = 60) -> str:
    """The text; two electronic steps in each ionic one."""
    head = (
        " vasp.5.4.4.18Apr17 complex\n POTCAR:    PAW_PBE Si x\n POTCAR:    PAW_PBE C x\n"
        " POTCAR:    PAW_PBE Si x\n   VRHFIN =Si: s2p2\n   TITEL  = PAW_PBE Si x\n"
        " POTCAR:    PAW_PBE C x\n   VRHFIN =C: s2p2\n   TITEL  = PAW_PBE C x\n"
        "   number of dos      NEDOS =    301   number of ions     NIONS =      2\n"
        "   ions per type =               1   1\n   ISPIN  =      1    spin polarized calculation?\n"
        f"   NELM   =     {nelm};   NELMIN=  4; NELMDL=  0     # of ELM steps\n"
    )
    positions = FRACTIONAL @ CELL
    body = ""
    for i in range(steps):
        free = FREE + i
        for loop in (1, 2):
            body += (
                f"----------------------------------------- Iteration    {i + 1}(   {loop})  -----------------------\n"
                f"  free energy    TOTEN  =       {free:.8f} eV\n"
                f"  energy without entropy =      {free:.8f}  energy(sigma->0) =      {free:.8f}\n"
            )
        xx, yy, zz, xy, yz, zx = (STRESS * (i + 1))[(0, 1, 2, 0, 1, 2), (0, 1, 2, 1, 2, 0)]
        body += f"  in kB  {xx:11.5f}{yy:11.5f}{zz:11.5f}{xy:11.5f}{yz:11.5f}{zx:11.5f}\n"
        body += f"  external pressure = {(xx + yy + zz) / 3:10.2f} kB  Pullay stress =        0.00 kB\n\n"
        body += "      direct lattice vectors                 reciprocal lattice vectors\n"
        body += "".join("".join(f"{x:13.9f}" for x in (*row, 0.0, 0.0, 0.0)) + "\n" for row in CELL) + "\n"
        body += " POSITION                                       TOTAL-FORCE (eV/Angst)\n " + "-" * 83 + "\n"
        for p, f in zip(positions, _forces(i), strict=True):
            body += "".join(f"{x:13.5f}" for x in p) + "".join(f"{x:14.6f}" for x in f) + "\n"
        body += " " + "-" * 83 + "\n    total drift:   0.0 0.0 0.0\n\n"
        body += "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  " + "-" * 51 + "\n"
        body += f"  free  energy   TOTEN  =       {free:.8f} eV\n\n"
        body += f"  energy  without entropy=      {free + 2 * SMEARING:.8f}  energy(sigma->0) =      {free + SMEARING:.8f}\n\n"
    return head + body + " General timing and accounting informations for this job:\n"
