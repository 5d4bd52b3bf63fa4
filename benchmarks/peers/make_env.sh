#!/usr/bin/env bash
# A peer's environment, which cannot be ours: their versions of e3nn exclude each other.
#   bash benchmarks/peers/make_env.sh mace|nequip|fairchem|neuralop [DIR]      DIR defaults to .peers (ignored by git)
# torch comes first and at our version, so that all packages run on the same kernels; on Linux without a GPU, choose the CPU build
# of torch with pip's usual settings (--index-url or a constraint).
set -eu
name=$1
case $name in
  mace) packages="mace-torch==0.3.16" ;;
  nequip) packages="nequip==0.19.1" ;;
  fairchem) packages="fairchem-core==2.24.0 pymatgen" ;;
  neuralop) packages="neuraloperator==2.0.0" ;;
  *) echo "no such peer: $name; expected mace, nequip, fairchem or neuralop" >&2; exit 2 ;;
esac
env=${2:-.peers}/$name
"${PYTHON:-python3}" -m venv "$env"
"$env/bin/pip" install --quiet torch==2.13.0
# shellcheck disable=SC2086
"$env/bin/pip" install --quiet $packages torch==2.13.0
"$env/bin/python" -c "import torch; print('$env', torch.__version__)"
