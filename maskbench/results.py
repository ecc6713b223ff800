"""The stored outcome of one evaluation: ``PROTOCOL/MODEL/result.json`` with ``scores.npz`` beside it."""

from __future__ import annotations

import dataclasses
import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from maskbench import files
from maskbench.datasets.folder import walk
from maskbench.errors import MaskbenchError, ResultError
from maskbench.metrics.conditions import LABELS, condition_labels
from maskbench.registry import nearest
from maskbench.scoring import load_scores, save_scores
from maskbench.types import PairTable, Result, ScoreSet

SCHEMA_VERSION = 1
RESULT_FILE, SCORES_FILE = "result.json", "scores.npz"
_TABLES = ("protocol", "recognizer", "metrics", "counts", "thresholds", "intervals", "environment", "digests")
_TABLES_OF_TABLES = ("metrics", "counts", "intervals")  # condition to table
_TEXTS = ("completion", "mask_source", "align", "date")


@dataclasses.dataclass(frozen=True)
class Run:
    """A result with the scores that it was computed from.

    Attributes:
        condition: (M,) str, the condition of each score, such as "UMR-MP".
    """

    result: Result
    scores: ScoreSet
    condition: np.ndarray


# ---------------------------------------------------------------- JSON


def to_json(result: Result) -> dict[str, Any]:
    """A result as plain JSON values. NaN and infinities, which JSON lacks, become null ("not known").

    Raises:
        ResultError: a value is of a kind that JSON cannot hold.
    """
    return {field.name: _plain(getattr(result, field.name), field.name) for field in dataclasses.fields(Result)}


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, where) for inner in value]
    if isinstance(value, float):  # float() and int() strip enumerations and other subclasses
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    raise ResultError(f"{where}: a result cannot hold a {type(value).__name__}; use numbers, text, lists and tables")


def from_json(value: Any, where: str) -> Result:
    """The inverse of :func:`to_json`; ``where`` names the file in messages.

    Raises:
        ResultError: another schema version, unknown or missing fields, fields of the wrong kind, or NaN.
    """
    if not isinstance(value, dict) or "schema_version" not in value:
        raise ResultError(f"{where}: not a result of maskbench (no schema_version)")
    version = value["schema_version"]
    if type(version) is not int or version != SCHEMA_VERSION:
        raise ResultError(f"{where}: schema_version {version!r}, expected {SCHEMA_VERSION}; evaluate again")
    names = [field.name for field in dataclasses.fields(Result)]
    for key in value:
        if key not in names:
            raise ResultError(f"{where}: unknown field {key!r}; {nearest(key, names)}")
    for key in names:
        if key not in value:
            raise ResultError(f"{where}: field {key!r} is missing; evaluate again")
    _check_kinds(value, where)
    return Result(**value)


def _check_kinds(value: dict[str, Any], where: str) -> None:
    for key in _TABLES:
        if not isinstance(value[key], dict):
            raise ResultError(f"{where}: {key} is not a table; evaluate again")
    for key in _TABLES_OF_TABLES:
        if not all(isinstance(inner, dict) for inner in value[key].values()):
            raise ResultError(f"{where}: {key} holds something other than tables; evaluate again")
    for key in _TEXTS:
        if not isinstance(value[key], str):
            raise ResultError(f"{where}: {key} is not text; evaluate again")
    if _plain(value, where) != value:  # Python's JSON reader lets NaN and Infinity through
        raise ResultError(f"{where}: holds NaN or Infinity, which is not JSON; evaluate again")


# ---------------------------------------------------------------- files


def write_result(result: Result, path: Path) -> None:
    """Write ``result.json`` atomically; equal results give equal bytes. Raises as :func:`to_json`."""
    files.write_json(path, to_json(result))


def read_result(path: Path) -> Result:
    """Read one ``result.json``.

    Raises:
        ResultError: it is missing, is not JSON or is no result of this schema version; the message names the file.
    """
    try:
        value = files.read_json(path)
    except MaskbenchError as error:
        raise ResultError(str(error)) from error
    except RecursionError as error:
        raise ResultError(f"{path}: nested too deeply for a result") from error
    return from_json(value, str(path))


def find_results(root: Path) -> list[Path]:
    """Every ``result.json`` below ``root`` (or ``root`` itself), sorted by path. Hidden folders are left out.

    Raises:
        ResultError: ``root`` cannot be read.
    """
    if Path(root).is_file():
        return [Path(root)]
    try:
        return [Path(root, file.path) for file in walk(root) if PurePosixPath(file.path).name == RESULT_FILE]
    except MaskbenchError as error:
        raise ResultError(str(error)) from error


def load_results(root: Path) -> list[Result]:
    """Read every ``result.json`` below ``root``, sorted by path; an empty list when there is none.

    Raises:
        ResultError: ``root`` or a result in it cannot be read; the message names the file.
    """
    return [read_result(path) for path in find_results(root)]


def result_dir(out: Path, protocol_name: str, model_name: str, completion: str = "none") -> Path:
    """The folder of a result: ``OUT/PROTOCOL/MODEL``, or ``OUT/PROTOCOL/MODEL--COMPLETION``.

    ``onnx:PATH`` counts as the file's name without extension. Characters other than letters, digits, ".", "_" and
    "-" become "-"; a leading "." does too, so that no folder is hidden.

    Raises:
        ResultError: a name is empty.
    """
    if model_name.startswith("onnx:"):
        model_name = PurePosixPath(model_name.removeprefix("onnx:").replace("\\", "/")).stem
    model = _safe(model_name) + ("" if completion == "none" else f"--{_safe(completion)}")
    return Path(out, _safe(protocol_name), model)


def _safe(name: str) -> str:
    if not name:
        raise ResultError("a result needs the names of its protocol and its model; one is empty")
    return re.sub(r"^\.", "-", re.sub(r"[^A-Za-z0-9._-]", "-", name))


# ---------------------------------------------------------------- results with scores


def save_run(folder: Path, result: Result, scores: ScoreSet, pairs: PairTable) -> None:
    """Write ``scores.npz`` (with the condition of each pair) and then ``result.json`` to ``folder``.

    Raises:
        MaskbenchError: scores and pairs differ in length, or the folder cannot be written.
    """
    save_scores(Path(folder) / SCORES_FILE, scores, pairs.pair_id, condition_labels(pairs))
    write_result(result, Path(folder) / RESULT_FILE)


def load_run(path: Path) -> Run:
    """Read a ``result.json`` and the ``scores.npz`` beside it.

    Raises:
        ResultError: either is missing or malformed, or they belong to different protocols.
    """
    result, file = read_result(path), Path(path).parent / SCORES_FILE
    try:
        scores, _ = load_scores(file)
        with np.load(file, allow_pickle=False) as stored:
            condition = stored["condition"]
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:  # ValueError: pickled objects
        raise ResultError(f"{file}: has no condition for each score; evaluate again") from error
    except MaskbenchError as error:
        raise ResultError(str(error)) from error
    if condition.shape != scores.scores.shape or not np.isin(condition, LABELS).all():
        raise ResultError(f"{file}: conditions and scores do not match; evaluate again")
    if scores.protocol_digest != result.protocol.get("digest"):
        raise ResultError(f"{file}: the scores are of another protocol than {path}; evaluate again")
    return Run(result, scores, condition)


def load_runs(root: Path) -> list[Run]:
    """Read every result below ``root`` with its scores, sorted by path. Raises as :func:`load_run`."""
    return [load_run(path) for path in find_results(root)]
