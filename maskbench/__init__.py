"""maskbench: what masks do to a face recognizer, by how much and how surely."""

from maskbench._version import __version__

__all__ = ["__version__"]
