"""YAML files and ``--set a.b=c`` into frozen pydantic models; whatever is wrong is named with its file, line and key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from atomfield.data.errors import InputError

M = TypeVar("M", bound=BaseModel)
Key = tuple[str | int, ...]
"""A place in a configuration: ``("streams", 0, "weight")`` is written ``streams.0.weight``."""


def load_config(
    cls: type[M],
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    options: Mapping[str, tuple[str, object]] | None = None,
) -> M:
    """A validated ``cls`` from the file ``path``, then ``options``, then ``overrides``; the later one wins.

    path: a YAML file, the name of a configuration that ships with the package, or None for an empty file.
    overrides: texts ``a.b=c`` as ``--set`` takes them; the value is read as YAML; a number in the key counts in a list.
    options: key -> (the option's name for messages, value), e.g. ``{"seed": ("--seed", 3)}``; None is not given.

    Raises ``InputError`` for a missing or unreadable file, a repeated or unknown key (the nearest valid name is given), and a
    value that does not fit; several mistakes are told in one line.
    """
    file = None if path is None else find_config(path)
    values, places = ({}, {}) if file is None else _read_yaml(file)
    absent: dict[Key, str] = {}
    for text, (name, value) in (options or {}).items():
        key = _key(text)
        if value is None:
            absent[key] = name
            continue
        _put(values, key, value, name)
        places[key] = name
    for text in overrides:
        key, value = _parse_override(text)
        _put(values, key, value, f"--set {text}")
        places[key] = f"--set {text}"
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        # an unknown key first: where one is misspelt, another one is usually missing for it
        found = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
        mistakes = [_mistake(cls, e, places, absent) for e in found]
        raise InputError(*_told(mistakes, file)) from None


def find_config(path: str | Path) -> Path:
    """The file ``path``, or the shipped configuration of that name (with or without ``.yaml``)."""
    path = Path(path)
    if path.is_file():
        return path
    shipped = shipped_configs()
    name = path.as_posix().removeprefix("configs/").removesuffix(".yaml")
    if name in shipped and not path.exists():
        return shipped[name]
    found = "is a folder" if path.is_dir() else "no such file"
    names = ", ".join(sorted(shipped)) or "none"
    raise InputError(f"{found}, expected a YAML configuration; shipped with the package: {names}", str(path))


def shipped_configs() -> dict[str, Path]:
    """Name -> file of every configuration in ``configs/``."""
    import atomfield.configs

    folder = Path(str(atomfield.configs.__file__)).parent
    return {f.relative_to(folder).with_suffix("").as_posix(): f for f in folder.rglob("*.yaml")}


# ---------------------------------------------------------------- reading
def _read_yaml(file: Path) -> tuple[dict[Any, Any], dict[Key, str]]:
    """The content of ``file`` and the line of each key. Plain data only: no tag builds an object."""
    try:
        tree = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        lines: dict[Key, str] = {}
        if tree is not None:
            _note_lines(tree, (), lines, file)
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        raise InputError(f"not readable as YAML: {getattr(error, 'problem', error)}", where) from None
    except UnicodeDecodeError:
        raise InputError("not a text file, expected YAML in UTF-8", str(file)) from None
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise InputError(f"found a {type(values).__name__}, expected keys and values (key: value)", str(file))
    return values, lines


def _note_lines(node: yaml.Node, key: Key, lines: dict[Key, str], file: Path) -> None:
    lines[key] = f"{file}:{node.start_mark.line + 1}"
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            _note_lines(item, (*key, i), lines, file)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name, value in node.value:
            if name.value in seen:
                raise InputError(f"key {_text((*key, name.value))!r} stands here a second time; keep one of them",
                                 f"{file}:{name.start_mark.line + 1}")  # fmt: skip
            seen.add(name.value)
            _note_lines(value, (*key, name.value), lines, file)
            lines[(*key, name.value)] = f"{file}:{name.start_mark.line + 1}"


def _parse_override(text: str) -> tuple[Key, object]:
    name, sign, value = text.partition("=")
    if not sign or not re.fullmatch(r"\w+(\.\w+)*", name.strip()):
        raise InputError(f"found {text!r}, expected KEY=VALUE such as optimizer.learning_rate=1e-3", "--set")
    try:
        return _key(name.strip()), yaml.safe_load(value)
    except yaml.YAMLError:
        raise InputError(f"the value {value!r} is not readable as YAML; quote it", f"--set {text}") from None


def _key(text: str) -> Key:
    return tuple(int(part) if part.isdigit() else part for part in text.split("."))


def _text(key: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in key)


def _put(values: Any, key: Key, value: object, where: str) -> None:
    """Set ``value`` at ``key``; missing levels are made, a list is only changed where it has an item."""
    node = values
    for depth, part in enumerate(key):
        if isinstance(node, list) and (not isinstance(part, int) or part >= len(node)):
            found = f"{_text(key[:depth])} is a list of {len(node)} items, counted from 0; found {part!r}"
            raise InputError(found, where)
        if not isinstance(node, (list, dict)):
            raise InputError(f"{_text(key[:depth])} is a single value, so it has no {part!r}", where)
        place: Any = node
        if depth == len(key) - 1:
            place[part] = value
        elif isinstance(node, dict) and node.get(part) is None:
            place[part] = {}
        node = place[part]


# ---------------------------------------------------------------- messages
Mistake = tuple[str, str]
"""(where, what): the file and line or the option, and what is wrong there."""


def _told(mistakes: Sequence[Mistake], file: Path | None) -> tuple[str, str | None]:
    """Message and place of the error that tells the first three ``mistakes`` in one line."""
    first, *others = dict.fromkeys(mistakes)
    text = "; ".join([first[1], *(f"{where}: {what}" if where else what for where, what in others[:2])])
    if len(others) > 2:
        text += f"; and {len(others) - 2} more"
    return text, first[0] or (str(file) if file else None)


def _mistake(
    cls: type[BaseModel], error: ErrorDetails, places: Mapping[Key, str], absent: Mapping[Key, str]
) -> Mistake:
    key, value = error["loc"], error.get("input")
    around = [key[:n] for n in range(len(key), 0, -1)] + [k for k in places if k[: len(key)] == key]
    place = next((places[k] for k in around if k in places), "")
    match error["type"]:
        case "extra_forbidden":
            return place, f"unknown key {_text(key)!r}{_nearest(cls, key)}"
        case "missing" if key in absent:
            known = " (atomfield-s ships with the package)" if _text(key) == "from" else ""
            return (
                place,
                f"{absent[key]} is missing: give it{known}, or write {_text(key)!r} in a configuration",
            )
        case "missing":
            return place, f"key {_text(key)!r} is missing"
        case "value_error":
            said = str(error.get("ctx", {}).get("error", error["msg"]))
        case _:
            said = error["msg"][:1].lower() + error["msg"][1:].replace("valid tuple", "list: [a, b]")
            if value is None or isinstance(value, (str, int, float, bool)):
                said += f" (found {value!r})"
    return place, f"{_text(key)}: {said}" if key else said


def _nearest(cls: type[BaseModel], key: Key) -> str:
    """``; did you mean X?``, or all valid names where none is near."""
    model = _model_at(cls, key[:-1])
    if model is None:
        return ""
    names = list(_fields(model))
    near = difflib.get_close_matches(str(key[-1]), names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; expected one of {', '.join(names)}"


def _model_at(cls: type[BaseModel], key: Key) -> type[BaseModel] | None:
    """The model class that stands at ``key`` inside ``cls``."""
    model: type[BaseModel] | None = cls
    for part in key:
        if isinstance(part, int):
            continue  # an item of a list: the class was found in the list's annotation
        if model is None or part not in _fields(model):
            return None
        model = _model_in(_fields(model)[part].annotation)
    return model


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Fields by the names that a file uses."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in get_args(annotation) if (m := _model_in(a))), None)
