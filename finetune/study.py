"""What the settings ask for: one run, a search before it, cross-validation, or a learning curve."""

from __future__ import annotations

from rich.console import Console

from .class_names import with_class_names
from .config import FinetuneConfig
from .folds import cross_validate
from .learning_curve import learning_curve
from .mistakes import check_sources
from .parts import read_parts, read_records
from .run import finetune, run_control
from .search import search


def study(config: FinetuneConfig, console: Console | None = None) -> dict[str, float]:
    """Run it and return the metrics of ``out/metrics.json``."""
    console = console or Console(stderr=True)
    check_sources(config)
    config = with_class_names(config, console)
    if config.folds is not None:
        return cross_validate(config, console)
    if config.learning_curve:
        return learning_curve(config, console)
    asked = config.model_copy(update={"search": 0})
    if config.search:
        config, parts = search(config, console)
        if config.test:
            parts.test, parts.test_is_valid = read_records(config, config.test, console), False
    else:
        parts = read_parts(config, console)
    return finetune(config, parts, control=run_control(asked, parts, console), console=console)
