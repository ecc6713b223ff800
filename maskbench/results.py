"""The stored outcome of one evaluation: ``PROTOCOL/MODEL/result.json`` with ``scores.npz`` beside it."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from maskbench import files
from maskbench.datasets.folder import walk
from maskbench.digest import file_sha256
from maskbench.errors import MaskbenchError, ResultError
from maskbench.metrics.conditions import LABELS, condition_labels
from maskbench.registry import nearest
from maskbench.scoring import UNREADABLE, load_scores, save_scores
from maskbench.types import PairTable, Result, ScoreSet

SCHEMA_VERSION = 1
RESULT_FILE, SCORES_FILE = "result.json", "scores.npz"
_TABLES = ("protocol", "recognizer", "metrics", "counts", "thresholds", "intervals", "environment", "digests")
_TABLES_OF_TABLES = ("metrics", "counts", "intervals")  # condition to table
_TEXTS = ("completion", "mask_source", "align", "date")
_WORDS = ("flag", "from", "note", "reason", "rule")  # what is text in a table of figures

Key = tuple[str, str, str, str, str]
KEY_NAMES = ("protocol", "protocol", "masked set", "alignment", "set of pictures")  # the parts of ``comparison_key``


@dataclasses.dataclass(frozen=True)
class Run:
    """A result with the scores that it was computed from.

    Attributes:
        condition: (M,) str, the condition of each score, such as "UMR-MP".
        subjects: (M, 2) int32, numbers of the persons on both sides; None where the scores came without.
        fold: (M,) int32, likewise.
    """

    result: Result
    scores: ScoreSet
    condition: np.ndarray
    subjects: np.ndarray | None = None
    fold: np.ndarray | None = None


# ---------------------------------------------------------------- JSON


def to_json(result: Result) -> dict[str, Any]:
    """A result as plain JSON values. NaN and infinities, which JSON lacks, become null ("not known").

    Raises:
        ResultError: a value is of a kind that JSON cannot hold.
    """
    return {field.name: plain(getattr(result, field.name), field.name) for field in dataclasses.fields(Result)}


def plain(value: Any, where: str = "result") -> Any:
    """Arrays, tuples, enumerations and so on as plain JSON values. Raises ResultError for what JSON cannot hold."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner, where) for inner in value]
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
    for label, block in value["intervals"].items():
        for path, entry in block.items():
            entries = [entry, entry.get("clustered", {})] if isinstance(entry, dict) else [entry]
            if path != "method" and not all(isinstance(part, dict) for part in entries):
                raise ResultError(f"{where}: intervals.{label}.{path} is not a table; evaluate again")
            for part in entries if path != "method" else ():
                _check_numbers({end: part.get(end) for end in ("low", "high")}, f"{where}: intervals.{label}.{path}")
    for key in _TEXTS:
        if not isinstance(value[key], str):
            raise ResultError(f"{where}: {key} is not text; evaluate again")
    for key in ("environment", "digests"):
        if not all(isinstance(inner, str) for inner in value[key].values()):
            raise ResultError(f"{where}: {key} holds something other than text; evaluate again")
    for key in ("metrics", "counts"):
        _check_numbers(value[key], f"{where}: {key}")
    names = value["recognizer"].get("training_data")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ResultError(f"{where}: recognizer.training_data is not a list of names; evaluate again")
    if plain(value, where) != value:  # Python's JSON reader lets NaN and Infinity through
        raise ResultError(f"{where}: holds NaN or Infinity, which is not JSON; evaluate again")


def _check_numbers(value: Any, where: str) -> None:
    """Raise unless everything in a table of figures is a number or null, but for the few keys that hold words."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in _WORDS:
                _check_numbers(inner, f"{where}.{key}")
            elif not isinstance(inner, str | None):
                raise ResultError(f"{where}.{key} is not text; evaluate again")
    elif isinstance(value, list):
        for inner in value:
            _check_numbers(inner, where)
    elif value is not None and not (type(value) is float or (type(value) is int and abs(value) < 2**63)):
        raise ResultError(f"{where} is not a number; evaluate again")


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
        return from_json(files.read_json(path), str(path))
    except MaskbenchError as error:
        raise ResultError(str(error)) from error
    except (RecursionError, ValueError) as error:  # brackets or digits by the thousand
        raise ResultError(f"{path}: nested too deeply, or a number too long, for a result; evaluate again") from error


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


def value_at(result: Result, *place: str) -> Any:
    """The value at a place in the metrics, such as ("UMR-MP", "eer", "value"); None where any step is missing."""
    value: Any = result.metrics
    for key in place:
        value = value.get(key) if isinstance(value, Mapping) else None
    return None if isinstance(value, Mapping | list) else value


# ---------------------------------------------------------------- what may be compared


def comparison_key(result: Result) -> Key:
    """What two results must have in common to be compared: protocol name and digest, the masked set's digest, the
    alignment, and the digest of the pictures that were used, which missing ones change too. See ``KEY_NAMES``."""
    name, digest = (str(result.protocol.get(key, "")) for key in ("name", "digest"))
    manifest, samples = (str(result.digests.get(key, "")) for key in ("manifest", "samples"))
    return name, digest, manifest, result.align, samples


def refuse_other_result(folder: Path, key: Key) -> None:
    """Raise unless a new result with this ``comparison_key`` may be written to ``folder``.

    It may replace a result of the same comparison, and one that cannot be read.

    Raises:
        ResultError: the folder holds a result that must not be compared with the new one.
    """
    path = Path(folder) / RESULT_FILE
    try:
        found = comparison_key(read_result(path))
    except ResultError:
        return
    for name, old, new in zip(KEY_NAMES, found, key, strict=True):
        if old != new:
            raise ResultError(
                f"{path}: holds a result of another {name} ({old[:16] or 'none'}, now {new[:16] or 'none'}); "
                "choose another --out"
            )


# ---------------------------------------------------------------- results with scores


def save_run(
    folder: Path, result: Result, scores: ScoreSet, pairs: PairTable, subjects: np.ndarray | None = None
) -> None:
    """Write ``scores.npz`` (with the condition and the subjects of each pair) and then ``result.json`` to ``folder``.

    The result names the SHA-256 of the scores among its digests: one that was left behind by an interruption between
    the two does not pass for the result of the new scores.

    Raises:
        MaskbenchError: scores and pairs differ in length, or the folder cannot be written.
    """
    file = Path(folder) / SCORES_FILE
    save_scores(file, scores, pairs.pair_id, condition_labels(pairs), subjects, pairs.fold)
    digests = {**result.digests, "scores": file_sha256(file)}
    write_result(dataclasses.replace(result, digests=digests), Path(folder) / RESULT_FILE)


def load_run(path: Path) -> Run:
    """Read a ``result.json`` and the ``scores.npz`` beside it.

    Raises:
        ResultError: either is missing or malformed, or the scores are not those that the result was computed from.
    """
    result, file = read_result(path), Path(path).parent / SCORES_FILE
    try:
        scores, _ = load_scores(file)
        with np.load(file, allow_pickle=False) as stored:
            condition = stored["condition"]
            subjects, fold = (stored[name] if name in stored else None for name in ("subjects", "fold"))
        digest = file_sha256(file)
    except MaskbenchError as error:
        raise ResultError(str(error)) from error
    except UNREADABLE as error:  # pickled objects too
        raise ResultError(f"{file}: has no condition for each score; evaluate again") from error
    if condition.shape != scores.scores.shape or not np.isin(condition, LABELS).all():
        raise ResultError(f"{file}: conditions and scores do not match; evaluate again")
    if subjects is not None and (subjects.shape != (len(condition), 2) or subjects.dtype.kind not in "iu"):
        raise ResultError(f"{file}: subjects and scores do not match; evaluate again")
    if fold is not None and (fold.shape != condition.shape or fold.dtype.kind not in "iu"):
        raise ResultError(f"{file}: folds and scores do not match; evaluate again")
    if scores.protocol_digest != result.protocol.get("digest"):
        raise ResultError(f"{file}: the scores are of another protocol than {path}; evaluate again")
    if digest != result.digests.get("scores"):
        raise ResultError(f"{file}: is not the file that {path} was computed from (other sha256); evaluate again")
    return Run(result, scores, condition, subjects, fold)


def load_runs(root: Path) -> list[Run]:
    """Read every result below ``root`` with its scores, sorted by path. Raises as :func:`load_run`."""
    return [load_run(path) for path in find_results(root)]
