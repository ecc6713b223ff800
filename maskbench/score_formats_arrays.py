"""Score files that hold arrays: .npz without pickle, and .parquet through pandas."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maskbench.errors import MaskbenchError
from maskbench.scoring import UNREADABLE, load_scores

_DIGESTS = ("protocol_digest", "recognizer_digest")
_ALIASES = {"scores": "score"}


def npz_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The named columns of an .npz file, and the digests that maskbench writes with them.

    A file with an array named ``format`` is one of maskbench's own and must be whole, see ``scoring.load_scores``.

    Raises:
        MaskbenchError: it cannot be read, holds pickled objects, or its arrays are not columns of one length.
    """
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as stored:
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise MaskbenchError(f"{path}: a single array; save the columns with numpy.savez")
            arrays = {_ALIASES.get(name, name): stored[name] for name in stored.files}
    except FileNotFoundError:
        raise MaskbenchError(f"{path}: no such file; check the path") from None
    except UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MaskbenchError(f"{path}: not an .npz of plain arrays ({reason}); save it with numpy.savez") from error
    if "format" in arrays:
        load_scores(path)  # raises for a file of another version, or one that contradicts itself
        del arrays["format"]
    subjects = arrays.get("subjects")
    if subjects is not None and subjects.ndim == 2 and subjects.shape[1] == 2:
        arrays["reference_subject"], arrays["probe_subject"] = arrays.pop("subjects").T
    digests = {name: str(arrays.pop(name)) for name in _DIGESTS if name in arrays}
    return _columns(path, arrays), digests


def parquet_arrays(path: Path) -> dict[str, np.ndarray]:
    """The columns of a .parquet file.

    Raises:
        MaskbenchError: it cannot be read, or no working pyarrow is installed.
    """
    import pandas as pd

    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except ImportError as error:
        reason = " ".join(str(error).split())
        advice = "pip install 'pyarrow<19', or give the scores as CSV"
        raise MaskbenchError(f"{path}: .parquet needs pyarrow; {advice} ({reason})") from error
    except FileNotFoundError:
        raise MaskbenchError(f"{path}: no such file; check the path") from None
    except Exception as error:  # pyarrow has a tree of errors of its own
        reason = " ".join(str(error).split())
        raise MaskbenchError(f"{path}: not a readable .parquet file ({reason}); write it again") from error
    return _columns(path, {str(name): _numpy(frame[name]) for name in frame.columns})


def _numpy(column) -> np.ndarray:  # a pandas.Series
    """Numbers and booleans as such; all else as text, empty where there is none."""
    if column.dtype.kind in "biuf" and not column.isna().any():
        return column.to_numpy()
    if column.dtype.kind in "iuf":
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.array(["" if missing else str(value) for value, missing in zip(column, column.isna(), strict=True)])


def _columns(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    lengths = {name: array.shape for name, array in arrays.items()}
    for name, shape in lengths.items():
        if len(shape) != 1:
            raise MaskbenchError(f"{path}: array {name!r} has shape {shape}; give columns of one dimension")
        if arrays[name].dtype.kind not in "biufU":
            raise MaskbenchError(f"{path}: array {name!r} is of type {arrays[name].dtype}; give numbers or text")
        if shape != next(iter(lengths.values())):
            first, rows = next((key, size[0]) for key, size in lengths.items())
            raise MaskbenchError(f"{path}: {name!r} has {shape[0]} rows, {first!r} {rows}; give equal columns")
    return arrays
