"""Predictions as a file: one JSON object a line, `{id, prediction, tokens, seconds}`, written once, read by everything.

A file whose name ends in `.parquet` holds the same as columns.

`samples`, a list of texts, may hold further answers drawn for the same question: pass@k and the execution vote look
at them, every other metric at `prediction` alone.

`tries`, where the model could correct itself, counts its answers to the question, of which this is the last.

`gave_up` marks an answer that constrained decoding could not keep within the schema.

`tokens` and `seconds` say what one answer cost to generate and may be left out (files from elsewhere often lack them);
the two speed metrics are then absent. Keys of no meaning here are passed over. Limits: one row per example.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.errors import UserError, first_line

PARQUET = ".parquet"
_SELDOM = ("samples", "tries", "gave_up")  # left out of a line where there are none
_SHOWN = 3  # ids named in an error


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model answered to one example: its raw text, the tokens generated and the seconds that took, samples."""

    id: str
    prediction: str
    tokens: int | None = None
    seconds: float | None = None
    samples: tuple[str, ...] = ()
    tries: int | None = None
    gave_up: bool = False


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write JSONL, or Parquet, to `path`; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    if path.suffix == PARQUET:
        _write_parquet(partial, list(predictions))
    else:
        with partial.open("w", encoding="utf-8") as handle:
            for prediction in predictions:
                # ASCII escapes: a model may well emit half a surrogate pair, which UTF-8 cannot hold.
                row = {key: value for key, value in asdict(prediction).items() if key not in _SELDOM or value}
                handle.write(json.dumps(row) + "\n")
    os.replace(partial, path)


def _write_parquet(path: Path, predictions: Sequence[Prediction]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([
        ("id", pa.string()), ("prediction", pa.string()), ("tokens", pa.int64()), ("seconds", pa.float64()),
        ("samples", pa.list_(pa.string())), ("tries", pa.int64()),
        ("gave_up", pa.bool_()),
    ])  # fmt: skip
    rows = [
        asdict(p) | {"prediction": _whole(p.prediction), "samples": list(map(_whole, p.samples))} for p in predictions
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


def _whole(text: str) -> str:
    """The text with halves of surrogate pairs as question marks: Parquet's strings are UTF-8."""
    return text.encode("utf-8", "replace").decode()


def read_predictions(path: Path, ids: Sequence[str] | None = None) -> list[Prediction]:
    """Read predictions; given the examples' `ids`, exactly those and in their order.

    Raises UserError naming file and row (1-based line) for anything unreadable, and for missing, extra or
    duplicate ids.
    """
    if not path.is_file():
        raise UserError(f"no predictions file at {path}")
    found: dict[str, tuple[int, Prediction]] = {}
    for row, prediction in _rows(path):
        if prediction.id in found:
            first = found[prediction.id][0]
            raise UserError(f"{path}, row {row}: id {prediction.id!r} is already in row {first}; keep one of them")
        found[prediction.id] = (row, prediction)
    if ids is None:
        return [prediction for _, prediction in found.values()]
    known = set(ids)
    for id, (row, _) in found.items():
        if id not in known:
            raise UserError(f"{path}, row {row}: id {id!r} is in no example; predict for the same examples file")
    missing = [id for id in ids if id not in found]
    if missing:
        raise UserError(f"{path}: no prediction for {_some(missing)}; an example without an answer needs an empty one")
    return [found[id][1] for id in ids]


def match_predictions(ids: Sequence[str], predictions: Sequence[Prediction]) -> list[Prediction]:
    """The predictions in the order of `ids`; raises UserError unless both hold the same ids, each once."""
    by_id = {prediction.id: prediction for prediction in predictions}
    for kind, names in (("example", ids), ("prediction", [p.id for p in predictions])):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise UserError(f"{kind} ids must be unique; more than once: {_some(twice)}")
    known = set(ids)
    missing, extra = [id for id in ids if id not in by_id], [id for id in by_id if id not in known]
    if missing or extra:
        parts = [f"no prediction for {_some(missing)}"] if missing else []
        parts += [f"predictions for no example: {_some(extra)}"] if extra else []
        raise UserError("; ".join(parts))
    return [by_id[id] for id in ids]


def _rows(path: Path) -> Iterator[tuple[int, Prediction]]:
    """Row numbers (1-based) and predictions, in the order of the file."""
    if path.suffix == PARQUET:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            rows = pq.read_table(path).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{path} cannot be read as Parquet: {first_line(error)}") from None
        for row, value in enumerate(rows, start=1):
            yield row, _prediction(value, f"{path}, row {row}")
        return
    with path.open("rb") as handle:
        for row, line in enumerate(handle, start=1):
            if line.strip():
                yield row, _parse(line, f"{path}, row {row}")


def _parse(line: bytes, place: str) -> Prediction:
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise UserError(f"{place}: not a line of JSON in UTF-8") from None
    return _prediction(value, place)


def _prediction(value: Any, place: str) -> Prediction:
    if not isinstance(value, dict):
        raise UserError(f"{place}: not a JSON object; expected id, prediction, tokens, seconds")
    for key in ("id", "prediction"):
        if key not in value:
            raise UserError(f"{place}: key {key!r} is missing; expected id, prediction, tokens, seconds")
        if not isinstance(value[key], str):
            raise UserError(f"{place}: {key!r} must be text, not {value[key]!r}"[:300])
    tokens, seconds = value.get("tokens"), value.get("seconds")
    if tokens is not None and (isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0):
        raise UserError(f"{place}: 'tokens' must be a count, not {tokens!r}")
    if seconds is not None and not _is_duration(seconds):
        raise UserError(f"{place}: 'seconds' must be a number of 0 or more, not {seconds!r}")
    tries = value.get("tries")
    if tries is not None and (isinstance(tries, bool) or not isinstance(tries, int) or tries < 1):
        raise UserError(f"{place}: 'tries' must be a count of 1 or more, not {tries!r}")
    gave_up = value.get("gave_up")
    if gave_up is not None and not isinstance(gave_up, bool):
        raise UserError(f"{place}: 'gave_up' must be true or false, not {gave_up!r}")
    samples = value.get("samples") or []
    if not isinstance(samples, list) or not all(isinstance(sample, str) for sample in samples):
        raise UserError(f"{place}: 'samples' must be a list of texts")
    cost = None if seconds is None else float(seconds)
    return Prediction(value["id"], value["prediction"], tokens, cost, tuple(samples), tries, bool(gave_up))


def _is_duration(value: Any) -> bool:
    # json.loads reads NaN and Infinity; both comparisons are false for NaN.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def _some(ids: Sequence[str]) -> str:
    shown = ", ".join(repr(id) for id in ids[:_SHOWN])
    return f"{shown} and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else shown
