"""maskbench: what masks do to a face recognizer, by how much and how surely.

The names below are loaded when they are first used; importing the package loads nothing heavy.
"""

from importlib import import_module
from typing import Any

from maskbench._version import __version__

_PUBLIC = {
    "EvaluationOptions": "maskbench.evaluation",
    "MaskbenchError": "maskbench.errors",
    "SynthesisConfig": "maskbench.masking.synthesis",
    "PeopleConfig": "maskbench.people.config",
    "Portraits": "maskbench.people.portraits",
    "RandomMask": "maskbench.masking.transform",
    "apply_mask": "maskbench.masking.apply",
    "evaluate": "maskbench.evaluation",
    "load_completion": "maskbench.completions.base",
    "load_protocol": "maskbench.protocols",
    "load_recognizer": "maskbench.recognizers.base",
    "load_results": "maskbench.results",
    "load_segmenter": "maskbench.segmenter",
    "make_folders": "maskbench.protocols",
    "make_lfw": "maskbench.protocols",
    "make_leaderboard": "maskbench.leaderboard",
    "make_people": "maskbench.people.folder",
    "make_protocol": "maskbench.protocol_making",
    "plot_results": "maskbench.report.plots",
    "render_torch": "maskbench.masking.render_torch",
    "synthesize": "maskbench.masking.engine",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'maskbench' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value  # a submodule of the same name must not hide the function again
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
