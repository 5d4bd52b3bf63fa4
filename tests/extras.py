"""Marks for tests that need a package of an extra."""

from importlib import util

import pytest

needs_tblite = pytest.mark.skipif(
    util.find_spec("tblite") is None, reason="tblite is not installed (extra 'generate')"
)
