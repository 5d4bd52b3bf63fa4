"""One run of many, a fold or a point of a learning curve, with a search of its own before it where one is asked for.

The search sees the training and validation records of that run and never its test records: settings that one search finds on
all records have seen the test records of every fold, and errors measured there are too small (Cawley and Talbot, J. Mach.
Learn. Res. 11, 2079 (2010)). So each run has its own search and, as a rule, settings of its own.
"""

from __future__ import annotations

from rich.console import Console

from .config import FinetuneConfig
from .finished import asked_of, forget, known, remember
from .parts import Parts
from .run import finetune, run_control
from .search import search_in

Metrics = dict[str, float]


def one_of_many(config: FinetuneConfig, parts: Parts, console: Console) -> tuple[Metrics, Metrics | None]:
    """Metrics of the run in ``config.out`` and of its from-scratch control, if any.

    The run is remembered in ``finished.json`` there, and the same command does not train it again.
    """
    asked = asked_of(config, parts)
    if (found := known(config.out, asked, console)) is not None:
        return found["metrics"], found["scratch"]
    forget(config.out)
    plain = config.model_copy(update={"search": 0})
    best = search_in(config, parts, console) if config.search else plain
    control = run_control(plain, parts, console)
    metrics = finetune(best, parts, control=control, console=console)
    remember(config.out, asked, {"metrics": metrics, "scratch": control})
    return metrics, control


def say_cost(config: FinetuneConfig, count: int, what: str, console: Console) -> None:
    """Print how many trainings a search within each of ``count`` runs takes, before the first."""
    if not config.search:
        return
    total = count * (config.search + 1 + config.control)
    each = f"{config.search} trials and one run" + (", and one from scratch" if config.control else "")
    length = ""
    if config.max_time:
        length = f" of at most {config.max_time:.0f} s each: at most {total * config.max_time / 60:.0f} minutes of training"
    elif config.steps:
        length = f" of {config.steps} steps each"
    console.print(f"nested search: {count} {what} x ({each}) = {total} trainings{length}", highlight=False)
