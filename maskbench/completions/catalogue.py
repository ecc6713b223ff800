"""What ``maskbench models list`` says of each completion, without loading any network."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points

from maskbench.completions.base import COMPLETIONS, GROUP
from maskbench.completions.builtin import BUILTIN, SLOTS, shipped_learned
from maskbench.completions.learned import read_completion_card


@dataclass(frozen=True)
class Entry:
    """One completion. What is None is not known without loading it.

    Attributes:
        kind: "method"; of a learned one its network, or what it is to be.
        fitted: whether it is fitted on faces first.
        input_size: (height, width).
        ready: whether it can be used as it is installed; remedy: why not, or where it is from.
    """

    name: str
    kind: str | None
    fitted: bool | None
    input_size: tuple[int, int] | None
    parameters: int | None
    licence: str | None
    ready: bool | None
    remedy: str = ""


def entries() -> list[Entry]:
    """Every known completion by name, also those without weights."""
    return [_entry(name) for name in COMPLETIONS.names()]


def _entry(name: str) -> Entry:
    if name in BUILTIN:
        spec = COMPLETIONS.get(name)("cpu").spec
        return Entry(name, "method", spec.needs_fit, spec.input_size, None, spec.licence, True)
    points = [point for point in entry_points(group=GROUP) if point.name == name]
    if points:
        package = points[0].dist.name if points[0].dist else ""
        return Entry(name, None, None, None, None, None, None, f"of the package {package}" if package else "a plug-in")
    if (path := shipped_learned().get(name)) is not None:
        card = read_completion_card(path)
        return Entry(name, card.network, False, (card.size, card.size), card.parameters, card.licence, True)
    return Entry(name, SLOTS.get(name), False, None, None, None, False, "no weights in this version")
