"""The YAML files of protocols: one flat table of keys, each of which knows its line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskbench.errors import ProtocolError
from maskbench.protocol_build import Locator
from maskbench.registry import nearest
from maskbench.tables import read_text, yaml_complaint


def read_mapping(path: Path, known: Sequence[str], required: Sequence[str]) -> tuple[dict[str, Any], Locator]:
    """Read a YAML file whose top is a table.

    Args:
        known: the keys that may stand there.
        required: those that must.

    Returns:
        The table, and a function from a key to the "FILE:LINE" that a message about it starts with.

    Raises:
        ProtocolError: it cannot be read, is no YAML or no table, or has unknown, repeated or missing keys.
    """
    import yaml

    text = read_text(path, ProtocolError)
    try:
        node, header = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as 2024-13-45
        raise ProtocolError(yaml_complaint(path, error)) from error
    if not isinstance(header, dict):
        raise ProtocolError(f"{path}:1: expected keys and values, such as 'name: my-protocol'")
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if key.value in lines:
            raise ProtocolError(f"{path}:{line}: {key.value!r} is already on line {lines[key.value]}")
        if key.value not in known:
            raise ProtocolError(f"{path}:{line}: unknown key {key.value!r}; {nearest(str(key.value), known)}")
        lines[key.value] = line
    for key in required:
        if key not in lines:
            raise ProtocolError(f"{path}:1: {key!r} is missing; needed: {', '.join(required)}")
    return header, lambda key: f"{path}:{lines.get(key, 1)}"
