"""Predictions of many records as parts on disk, from which the one file is put together: what was finished is never
lost, doubled or
computed again.

Beside ``answers.csv`` stands the folder ``.answers.csv.parts`` while the work goes on: ``part-000000.csv`` holds the records 0 to
CHUNK - 1 and so on, each written aside and renamed, each with a JSON that says how many records it has and which were refused.
``about.json`` says of what model and source they are; parts of another are thrown away. At the end the parts are
streamed into one
file in order, which is renamed into place, and the folder goes.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph
from atomfield.data.readers import BadRecord

from .predict import Prediction
from .write import write_predictions

CHUNK = 2000
"""Records of a part."""
STREAMED = (".csv", ".parquet", ".extxyz", ".xyz")
"""Formats whose parts can be joined without holding them all."""


class Parts:
    """The parts of ``out``; ``about`` tells the model, the source and the options, and must be JSON."""

    def __init__(self, out: Path, num_records: int, about: dict[str, Any], chunk: int = CHUNK):
        self.out, self.num_records, self.chunk = out, num_records, chunk
        self.folder = out.with_name(f".{out.name}.parts")
        self.about = {**about, "records": num_records, "chunk": chunk}

    def __len__(self) -> int:
        return -(-self.num_records // self.chunk)

    def prepare(self) -> list[int]:
        """Make the folder, or keep what is of the same work in it; returns the parts that are missing."""
        marker = self.folder / "about.json"
        if marker.is_file() and _read(marker) != json.loads(json.dumps(self.about)):
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not marker.is_file():
            draft = marker.with_suffix(".tmp")
            draft.write_text(json.dumps(self.about))
            os.replace(draft, marker)
        return [number for number in range(len(self)) if not self.path(number).with_suffix(".json").is_file()]

    def path(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}{self.out.suffix}"

    def records(self, number: int) -> range:
        """The records of a part."""
        return range(number * self.chunk, min((number + 1) * self.chunk, self.num_records))

    def write(
        self,
        number: int,
        numbers: Sequence[int],
        graphs: Sequence[Graph],
        predictions: Sequence[Prediction],
        bad: Sequence[BadRecord],
        classes: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """One part; its JSON comes last and says that it is whole. ``numbers``: of the records that were not refused.
        ``classes``: see ``write_predictions``."""
        path = self.path(number)
        if graphs:
            write_predictions(graphs, predictions, path, numbers, classes)
        else:
            path.write_bytes(b"")
        listed = [
            {"file": b.where.file, "record": b.where.record, "line": b.where.line, "message": b.message}
            for b in bad
        ]
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps({"count": len(graphs), "bad": listed}))
        os.replace(draft, path.with_suffix(".json"))

    def bad(self) -> list[BadRecord]:
        """What was refused, in order."""
        out = []
        for number in range(len(self)):
            for one in _read(self.path(number).with_suffix(".json"))["bad"]:
                out.append(BadRecord(Provenance(one["file"], one["record"], one["line"]), one["message"]))
        return out

    def join(self) -> int:
        """Put the file together, remove the parts, and return how many records it has. Raises ``InputError`` for none."""
        counts = [_read(self.path(n).with_suffix(".json")) for n in range(len(self))]
        for number, content in enumerate(counts):
            expected = len(self.records(number))
            assert content["count"] + len(content["bad"]) == expected, f"part {number} has lost records"
        total = sum(content["count"] for content in counts)
        if not total:
            raise InputError("there are no predictions to write, expected at least one", str(self.out))
        parts = [self.path(n) for n, content in enumerate(counts) if content["count"]]
        draft = self.out.with_name(f".{self.out.stem}.{os.getpid()}{self.out.suffix}")
        try:
            match self.out.suffix:
                case ".csv":
                    _join_csv(parts, draft)
                case ".parquet":
                    _join_parquet(parts, draft)
                case _:
                    with draft.open("wb") as target:
                        for part in parts:
                            with part.open("rb") as source:
                                shutil.copyfileobj(source, target)
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(draft, self.out)
        finally:
            draft.unlink(missing_ok=True)
        shutil.rmtree(self.folder)
        return total


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read ({error}); delete its folder to start anew", str(path)) from error


def _join_csv(parts: Sequence[Path], out: Path) -> None:
    """Parts may lack columns (a stress where nothing is periodic): the file has them all, in the order of their first part."""
    columns: dict[str, None] = {}
    for part in parts:
        with part.open(newline="") as file:
            columns |= dict.fromkeys(next(csv.reader(file)))
    with out.open("w", newline="") as target:
        writer = csv.DictWriter(target, list(columns), restval="")
        writer.writeheader()
        for part in parts:
            with part.open(newline="") as file:
                writer.writerows(csv.DictReader(file))


def _join_parquet(parts: Sequence[Path], out: Path) -> None:
    import pyarrow
    import pyarrow.parquet as parquet

    schema = pyarrow.unify_schemas(
        [parquet.read_schema(part) for part in parts], promote_options="permissive"
    )
    with parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        for part in parts:
            table = parquet.read_table(part)
            filled = [
                table[field.name].cast(field.type)
                if field.name in table.column_names
                else pyarrow.nulls(len(table), field.type)
                for field in schema
            ]
            writer.write_table(pyarrow.table(filled, schema=schema))
