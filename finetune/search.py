"""Search for hyper-parameters with Optuna (extra ``search``), judged on validation records alone; test records are not even read.

Every trial is a whole training run with the time or steps of the settings. Trials are kept in ``out/search/journal.log``, so the
same command goes on where it was stopped, within a trial too. The first trial has the defaults: the search never ends with
something worse on the validation records. Akiba et al., KDD 2019 (arXiv:1907.10902); the sampler is the tree-structured Parzen
estimator.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from atomfield.data.errors import InputError, Interrupted
from atomfield.data.quantities import VOCABULARY

from .config import FinetuneConfig, Strategy
from .parts import Parts, read_parts
from .resume import differences, given
from .run import validation_score
from .strategy import RATES, choose
from .tasks import Task, task_of

if TYPE_CHECKING:
    import optuna

Found = dict[str, Any]
FOLDER = "folder"
"""Of a trial whose training began as that of another number."""


def search(config: FinetuneConfig, console: Console) -> tuple[FinetuneConfig, Parts]:
    """The settings of the best of ``config.search`` trials, and the training and validation records that were read."""
    _optuna()
    parts = read_parts(config.model_copy(update={"test": ()}), console)
    return search_in(config, parts, console), parts


def search_in(config: FinetuneConfig, parts: Parts, console: Console) -> FinetuneConfig:
    """The settings of the best of ``config.search`` trials on the training and validation records of ``parts``; its test records
    are not looked at. Trials are kept in ``config.out/search``."""
    optuna = _optuna()
    asked = given(config, parts)
    parts = Parts(parts.train, parts.valid, parts.valid, test_is_valid=True)
    task = task_of(config.target, parts.train)
    folder = config.out / "search"
    folder.mkdir(parents=True, exist_ok=True)
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "journal.log"))
    study = optuna.create_study(
        study_name="search", storage=optuna.storages.JournalStorage(backend), load_if_exists=True
    )
    _same_settings(study, asked, config)
    _take_up_interrupted(study)
    if not study.trials:
        study.enqueue_trial(defaults(config, task, len(parts.train)), skip_if_exists=True)
    while (done := len(_complete(study))) < config.search:
        study.sampler = optuna.samplers.TPESampler(seed=config.seed + done, n_startup_trials=5)
        trial = study.ask()
        one = suggest(trial, config, task, len(parts.train))
        same = next((t.value for t in _complete(study) if t.params == trial.params), None)
        console.rule(f"trial {done + 1} of {config.search}: {_words(trial.params)}")
        value = same
        if value is None:
            place = trial.user_attrs.get(FOLDER, trial.number)
            one = one.model_copy(update={"out": folder / f"trial_{place:03d}"})
            value = _score_of(study, trial, one, parts, console)
        study.tell(trial, value)
        console.print(f"validation score {value:.5g}, best {study.best_value:.5g}", highlight=False)
    best = study.best_trial
    console.print(table(study), highlight=False)
    _write(study, config)
    console.print(f"best: trial {best.number}, {_words(best.params)}", highlight=False)
    fixed = optuna.trial.FixedTrial(best.params)
    return suggest(fixed, config, task, len(parts.train)).model_copy(update={"search": 0})


def suggest(
    trial: optuna.trial.BaseTrial, config: FinetuneConfig, task: Task, num_train: int
) -> FinetuneConfig:
    """The settings of a trial; what the person set is left as it is."""
    changes: Found = {}
    strategy = _strategies(config, task, num_train)
    chosen = trial.suggest_categorical("strategy", strategy) if len(strategy) > 1 else strategy[0]
    changes["strategy"] = chosen
    if chosen in ("frozen", "boosted"):
        return config.model_copy(update=changes)
    if config.learning_rate is None:
        factor = trial.suggest_float("rate_factor", 0.25, 4.0, log=True)
        changes["learning_rate"] = RATES[chosen] * factor
    given = config.model_fields_set
    if "weight_decay" not in given:
        changes["weight_decay"] = trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True)
    if chosen == "full" and "layer_decay" not in given:
        changes["layer_decay"] = trial.suggest_float("layer_decay", 0.5, 1.0)
    if chosen == "lora" and config.lora_rank is None:
        changes["lora_rank"] = trial.suggest_categorical("lora_rank", [1, 2, 4, 8])
    if task.world == "field" and "noise" not in given:
        changes["noise"] = trial.suggest_float("noise", 1e-3, 3e-2, log=True)
    if {"energy", "forces"} <= set(task.names) and "loss" not in given:
        weight = trial.suggest_float("energy_weight", 0.4, 40.0, log=True)
        changes["loss"] = config.loss.model_copy(update={"energy": weight})
    return config.model_copy(update=changes)


def defaults(config: FinetuneConfig, task: Task, num_train: int) -> Found:
    """Parameters of the trial that is the run without a search."""
    strategies = _strategies(config, task, num_train)
    chosen = choose(config, task, num_train).strategy
    found: Found = {"strategy": chosen} if len(strategies) > 1 else {}
    return found | {
        "rate_factor": 1.0, "weight_decay": config.weight_decay, "layer_decay": config.layer_decay, "lora_rank": 1,
        "noise": config.noise, "energy_weight": config.loss.energy,
    }  # fmt: skip


def _strategies(config: FinetuneConfig, task: Task, num_train: int) -> list[Strategy]:
    if config.start == "scratch" or config.strategy != "auto":
        return [choose(config, task, num_train).strategy]
    found: list[Strategy] = ["full", "lora"]
    if not config.replay:
        found.append("heads")
    plain = not (config.target_irreps or config.classes or config.nonnegative) and config.parity == "even"
    scalars = plain and set(task.names) == set(task.properties) and not set(task.names) & VOCABULARY.keys()
    if scalars and not config.replay:
        found.append("frozen")
    return found


# ---------------------------------------------------------------- the study
def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise InputError("needs Optuna: pip install 'atomfield[search]'", "--search") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _complete(study: optuna.Study) -> list[Any]:
    return [t for t in study.trials if t.state.name == "COMPLETE"]


def _score_of(
    study: optuna.Study, trial: optuna.Trial, one: FinetuneConfig, parts: Parts, console: Console
) -> float:
    """That of a trial, which counts as failed where it cannot be trained, and is taken up again where it was interrupted."""
    import optuna

    try:
        return validation_score(one, parts, console)
    except Interrupted:
        raise
    except Exception:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise


def _take_up_interrupted(study: optuna.Study) -> None:
    """Trials that a stopped command left running count as failed. Their settings come next, in the folder of the trial, where its
    training goes on."""
    import optuna

    for t in study.trials:
        if t.state.name == "RUNNING":
            study.tell(t.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(t.params, user_attrs={FOLDER: t.user_attrs.get(FOLDER, t.number)})


def _same_settings(study: optuna.Study, asked: Found, config: FinetuneConfig) -> None:
    """Refuse to go on with trials of other data or other fixed settings."""
    known = study.user_attrs.get("given")
    if known is None and not study.user_attrs:
        study.set_user_attr("given", asked)
        return
    others = ["those of another version"] if known is None else differences(known, asked)
    if others:
        raise InputError(
            f"has trials of other data or settings: {'; '.join(others)}; give what they were given, choose another --out, or "
            "remove this folder",
            str(config.out / "search"),
        )


def table(study: optuna.Study) -> Table:
    """All trials, best first."""
    names = list(dict.fromkeys(n for t in _complete(study) for n in t.params))
    shown = Table(
        title="Trials, best first (validation score: errors in units of their scales)", title_justify="left"
    )
    for column in ("trial", "score", *names):
        shown.add_column(column, justify="right")
    for t in sorted(_complete(study), key=lambda t: t.value):
        shown.add_row(str(t.number), f"{t.value:.5g}", *(_text(t.params.get(n, "–")) for n in names))
    return shown


def _write(study: optuna.Study, config: FinetuneConfig) -> None:
    rows = [{"trial": t.number, "score": t.value, **t.params} for t in _complete(study)]
    text = json.dumps(rows, indent=1) + "\n"
    (config.out / "search" / "trials.json").write_text(text, encoding="utf-8")


def _words(params: Found) -> str:
    return ", ".join(f"{k} {_text(v)}" for k, v in params.items()) or "nothing to choose"


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
