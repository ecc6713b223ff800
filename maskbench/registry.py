"""Names to plug-ins, loaded only when asked for."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from maskbench.errors import MaskbenchError

T = TypeVar("T")


def nearest(name: str, choices: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest known one, if any is near, and all that exist."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    return f"{hint}known: {', '.join(known) or 'none'}"


class Registry(Generic[T]):
    """A table from names to lazy ``module:attr`` strings or to objects, filled by an entry-point group.

    Args:
        kind: what the registry holds, for messages ("recognizer").
        group: the entry-point group that third-party packages add to, or None.
        builtin: the names that ship with maskbench.
    """

    def __init__(self, kind: str, group: str | None = None, builtin: dict[str, str] | None = None) -> None:
        self.kind = kind
        self._entries: dict[str, str | T] = dict(builtin or {})
        self._group = group

    def register(self, name: str, value: str | T) -> None:
        """Add a name. Raises MaskbenchError if the name already means something else."""
        if self._entries.get(name, value) != value:
            raise MaskbenchError(f'{self.kind} "{name}" is already registered as {self._entries[name]!r}; rename one')
        self._entries[name] = value

    def names(self) -> list[str]:
        """Every known name, sorted. Loads no plug-in."""
        self._read_entry_points()
        return sorted(self._entries)

    def get(self, name: str) -> T:
        """Load and return what ``name`` stands for. Raises MaskbenchError with the nearest known name."""
        self._read_entry_points()
        if name not in self._entries:
            raise MaskbenchError(f'no {self.kind} named "{name}"; {nearest(name, self._entries)}')
        value = self._entries[name]
        if isinstance(value, str):
            value = self._entries[name] = self._load(name, value)
        return value

    def _load(self, name: str, target: str) -> T:
        module, _, attribute = target.partition(":")
        loaded: Callable[[], T] | T = getattr(import_module(module), attribute)
        return loaded  # type: ignore[return-value]

    def _read_entry_points(self) -> None:
        if self._group is None:
            return
        group, self._group = self._group, None
        for point in entry_points(group=group):
            self.register(point.name, point.value)
