"""``python -m atomfield``, which is what ``torchrun -m atomfield pretrain CONFIG`` and the ``deepspeed`` launcher start."""

from __future__ import annotations

import sys

from atomfield.cli import main

sys.exit(main())
