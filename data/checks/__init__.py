"""What is wrong with data that parses: units, signs, totals, net forces, duplicates, and overlap of two parts.

:func:`audit` looks at one source, :func:`overlap` at two; both return what they found and change nothing.
"""

from __future__ import annotations

from .audit import audit
from .findings import Finding, Report
from .overlap import Overlap, overlap
from .refused import MAX_BAD, check_share, listed_bad

__all__ = ["MAX_BAD", "Finding", "Overlap", "Report", "audit", "check_share", "listed_bad", "overlap"]
