"""Protocols as data: a folder with ``protocol.yaml``, ``samples.csv`` and ``pairs.csv``; see docs/protocols.md.

Here a folder is read and written. The checks are in ``protocol_build`` and ``protocol_tables``, the protocols that
maskbench makes itself in ``protocol_makers``; all of it is meant to be imported from here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from maskbench import files
from maskbench.errors import MaskbenchError, ProtocolError
from maskbench.protocol_build import (
    FILES,
    FORMAT_VERSION,
    HEADER,
    PAIRS,
    SAMPLES,
    TEMPLATES,
    TEXT_KEYS,
    Locator,
    build_protocol,
    condition_names,
    masked_paths,
    protocol_counts,
    seal,
)
from maskbench.protocol_makers import make_folders, make_lfw
from maskbench.protocol_tables import (
    pair_columns,
    read_pairs,
    read_samples,
    read_templates,
    sample_columns,
    template_columns,
)
from maskbench.protocol_template import shipped_templates
from maskbench.protocol_yaml import read_mapping
from maskbench.registry import nearest
from maskbench.tables import csv_text
from maskbench.types import Protocol

__all__ = [
    "build_protocol",
    "condition_names",
    "load_protocol",
    "make_folders",
    "make_lfw",
    "masked_paths",
    "protocol_counts",
    "renamed",
    "shipped_protocols",
    "write_protocol",
]

REQUIRED_KEYS = ("format_version", "name", "version", "threshold_from")
HEADER_KEYS = (*REQUIRED_KEYS, *TEXT_KEYS, "masking", "conditions", "counts")

_SHIPPED = "maskbench.protocol_data"


# ---------------------------------------------------------------- reading


def shipped_protocols() -> dict[str, Path]:
    """The protocols that came with the package, name to folder; empty where none did."""
    try:
        root = Path(str(resources.files(_SHIPPED)))
    except ModuleNotFoundError:
        return {}
    return {folder.name: folder for folder in sorted(root.iterdir()) if (folder / HEADER).is_file()}


def load_protocol(name_or_dir: str | Path) -> Protocol:
    """Read and check a protocol folder, given by its path or by the name of a shipped protocol.

    Raises:
        ProtocolError: "FILE:LINE: ..." for unknown or missing columns and header keys, duplicate or unknown ids,
            values that do not parse, a pair whose ``mated`` contradicts the subjects, a sample compared with itself
            under one condition, a path that leaves its folder, a ``threshold_from`` without pairs, and counts or
            conditions that disagree with the tables.
    """
    folder = Path(name_or_dir)
    if not folder.is_dir():
        shipped = shipped_protocols()
        if str(name_or_dir) not in shipped:
            hint = nearest(str(name_or_dir), shipped)
            if str(name_or_dir) in shipped_templates():
                hint = f"it is a template: 'maskbench protocol make {name_or_dir} FACES OUT' makes the protocol"
            raise ProtocolError(f"{name_or_dir}: neither a protocol folder nor a shipped protocol; {hint}")
        folder = shipped[str(name_or_dir)]
    header, where = read_mapping(folder / HEADER, HEADER_KEYS, REQUIRED_KEYS)
    samples, pairs = read_samples(folder / SAMPLES), read_pairs(folder / PAIRS)
    templates = read_templates(folder / TEMPLATES) if (folder / TEMPLATES).exists() else None
    protocol = seal(header, samples, pairs, f"{folder}{os.sep}", where, templates)
    _check_summary(header, protocol, where)
    return protocol


def _check_summary(header: Mapping[str, Any], protocol: Protocol, where: Locator) -> None:
    """Compare what the header says about the tables, if it says it, with the tables."""
    conditions, actual = condition_names(protocol.pairs), protocol_counts(protocol)
    listed, counts = header.get("conditions", conditions), header.get("counts", {})
    if not isinstance(listed, list) or sorted(map(str, listed)) != sorted(conditions):
        raise ProtocolError(f"{where('conditions')}: conditions are {listed!r}, those of the pairs {conditions}")
    if not isinstance(counts, dict):
        raise ProtocolError(f"{where('counts')}: counts must be a table of {', '.join(actual)}")
    for key, value in counts.items():
        if key not in actual:
            raise ProtocolError(f"{where('counts')}: unknown count {key!r}; {nearest(str(key), actual)}")
        if type(value) is not int or value != actual[key]:
            raise ProtocolError(f"{where('counts')}: counts says {value!r} {key}, the tables have {actual[key]}")


def renamed(protocol: Protocol, name: str) -> Protocol:
    """The protocol under another name; what its maker put behind the template's name stays. Raises ProtocolError."""
    suffix = protocol.name.rpartition("-")[2]
    return build_protocol(
        f"{name}-{suffix}", protocol.version, protocol.samples.values(), protocol.pairs, protocol.threshold_from,
        description=protocol.description, licence=protocol.licence, source=protocol.source, masking=protocol.masking,
        templates=protocol.templates,
    )  # fmt: skip


# ---------------------------------------------------------------- writing


def write_protocol(protocol: Protocol, folder: Path) -> None:
    """Write a protocol folder. A reader finds the old files or the new ones, never a mixture.

    Raises:
        ProtocolError: ``folder`` exists and holds anything but the files of a protocol.
        MaskbenchError: it cannot be written.
    """
    target = Path(os.path.realpath(folder))
    _check_replaceable(target)
    fresh, old = (Path(files.temporary_in(target.parent, kind)) for kind in ("tmp", "old"))
    samples = sample_columns(list(protocol.samples.values()))
    pairs = pair_columns(protocol.pairs)
    try:
        files.write_text(fresh / HEADER, _header_text(protocol))
        files.write_text(fresh / SAMPLES, csv_text(list(samples), zip(*samples.values(), strict=True)))
        files.write_text(fresh / PAIRS, csv_text(list(pairs), zip(*pairs.values(), strict=True)))
        if protocol.templates:
            templates = template_columns(protocol.templates)
            files.write_text(fresh / TEMPLATES, csv_text(list(templates), zip(*templates.values(), strict=True)))
        if target.is_dir():
            os.rename(target, old)
        os.rename(fresh, target)
    except OSError as error:
        raise MaskbenchError(f"{target}: cannot be written ({error.strerror}); choose another folder") from error
    finally:
        if old.is_dir() and not target.is_dir():  # the second rename failed: put the old folder back
            os.rename(old, target)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(fresh, ignore_errors=True)


def _check_replaceable(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ProtocolError(f"{folder}: is a file; give a folder")
    present = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    other = sorted(present - {*FILES, TEMPLATES})
    if other or (present and HEADER not in present):
        raise ProtocolError(f"{folder}: not replaced, for it is no protocol folder or holds more than one "
                            f"({', '.join(other[:3]) or 'no ' + HEADER}); give a new folder")


def _header_text(protocol: Protocol) -> str:
    import yaml

    header = {"format_version": FORMAT_VERSION, "name": protocol.name, "version": protocol.version}
    header |= {key: getattr(protocol, key) for key in TEXT_KEYS}
    header |= {"masking": dict(protocol.masking)} if protocol.masking else {}
    header |= {"threshold_from": protocol.threshold_from, "conditions": condition_names(protocol.pairs)}
    header |= {"counts": protocol_counts(protocol)}
    return yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=100)
