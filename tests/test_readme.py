"""Python code of the pages that people copy from first runs as it stands, where the models that it names are shipped."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from atomfield.models import shipped

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/pretrained.md", "docs/laws.md")


def blocks() -> list[tuple[str, str]]:
    """(page and number, code) of every block of Python that names a shipped model, and of all on the page of laws."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8") if (ROOT / page).is_file() else ""
        for number, code in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL)):
            if "atomfield-" in code or page == "docs/laws.md":
                found.append((f"{page}-{number}", code))
    return found


@pytest.mark.parametrize(
    ("where", "code"), blocks(), ids=lambda value: value if value.count("\n") == 0 else "code"
)
def test_it_runs(where: str, code: str, tmp_path: Path) -> None:
    names = set(re.findall(r"atomfield-x?[sml]\b", code))
    if missing := names - set(shipped.folders()):
        pytest.skip(f"no weights of {', '.join(sorted(missing))} in models/pretrained yet")
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
