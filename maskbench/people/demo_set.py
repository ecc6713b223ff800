"""The people that ship with maskbench: 100 identities that nobody has, six pictures of each, and their protocol."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from maskbench.digest import config_sha256
from maskbench.errors import MaskbenchError
from maskbench.files import cache_root
from maskbench.masking.engine import Summary, synthesize
from maskbench.masking.recipes import load_recipe
from maskbench.masking.synthesis import SynthesisConfig, config_dict
from maskbench.protocols import load_protocol, masked_paths, shipped_protocols
from maskbench.types import Protocol

NAME = "demo-people"
CAVEAT = (
    "These numbers illustrate: the people are synthetic, and recognizers may share training pictures with their "
    "generator."
)


@dataclass(frozen=True)
class DemoSet:
    """The folder of the pictures, and the protocol that is made of them."""

    faces: Path
    protocol: Protocol


def demo_set() -> DemoSet:
    """The set that came with the package.

    Raises:
        MaskbenchError: this installation lacks it.
    """
    faces = _home() / NAME
    protocol = shipped_protocols().get(NAME)  # not load_protocol(NAME), which a folder of this name would answer
    if protocol is None or not faces.is_dir():
        raise MaskbenchError(f"this installation lacks {NAME}; install maskbench again, or give faces of your own")
    return DemoSet(faces, load_protocol(protocol))


def _home() -> Path:
    """The folder of the package's data."""
    return Path(str(resources.files("maskbench.data")))


def mask_as_protocol(
    faces: Path, masked: Path, protocol: Protocol, workers: int = 1, seed: int | None = None
) -> Summary:
    """Mask the pictures that a protocol wants masked, by its recipe, and its seed unless another is given; resumes."""
    config = _config(protocol, seed)
    return synthesize(faces, masked, config, workers, resume=True, cache=cache_root(), only=masked_paths(protocol))


def cached_masks(found: DemoSet, workers: int = 1) -> Path:
    """The folder of the set's masked copies in the cache; they are made, or what lacks of them, and checked.

    Args:
        workers: processes, 0 for one on every processor.

    Raises:
        MaskbenchError: the cache cannot be written to, or another run is masking there.
    """
    wanted = config_dict(_config(found.protocol), masked_paths(found.protocol))
    folder = cache_root() / NAME / config_sha256([found.protocol.digest, wanted])[:16]
    mask_as_protocol(found.faces, folder, found.protocol, workers)
    return folder


def _config(protocol: Protocol, seed: int | None = None) -> SynthesisConfig:
    wanted = protocol.masking
    recipe = load_recipe(wanted["recipe"], wanted["version"])
    return SynthesisConfig(recipe=recipe, seed=wanted["seed"] if seed is None else seed)
