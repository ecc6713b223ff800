"""What a completion is; finding, loading and guarding them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from typing import Protocol as TypingProtocol

import numpy as np

from maskbench.completions.builtin import BUILTIN, PREFIX, SLOTS, shipped_learned
from maskbench.digest import config_sha256
from maskbench.errors import MaskbenchError
from maskbench.recognizers.engines import DEVICES, ENGINES
from maskbench.registry import Registry, nearest

__all__ = [
    "COMPLETIONS", "Completion", "CompletionSpec", "check_faces", "check_masks", "checked_complete",
    "completion_digest", "load_completion", "own_registry",
]  # fmt: skip

GROUP = "maskbench.completions"


@dataclass(frozen=True)
class CompletionSpec:
    """What a completion is and needs.

    Attributes:
        needs_fit: whether ``complete`` works only on what ``fit`` returned.
        version: of the method; it grows whenever the same settings would give other pixels.
        input_size: (height, width) in pixels.
        template: name of the five-point template in ``maskbench.align.TEMPLATES`` that faces are aligned to.
        weights_sha256: of a learned completion's weights, else "".
        parameters: how many a learned completion has; None for the others.
        settings: every option with the value in force, plain JSON values.
    """

    name: str
    needs_fit: bool
    version: int = 1
    input_size: tuple[int, int] = (128, 128)
    template: str = "wide128"
    weights_sha256: str = ""
    parameters: int | None = None
    licence: str = "no weights"
    settings: Mapping[str, Any] = field(default_factory=dict)


class Completion(TypingProtocol):
    """Anything that guesses the hidden part of aligned faces.

    ``digest`` is the SHA-256 (``completion_digest``) over settings, the method's version, weights and what it was
    fitted on; never empty. The result for a face must not depend on the other faces of its batch.
    """

    spec: CompletionSpec
    digest: str

    def fit(self, faces: np.ndarray) -> Completion:
        """A fitted completion, from training faces (N, H, W, 3) uint8 RGB; where nothing is fitted, itself."""
        ...

    def complete(self, faces: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Faces (N, H, W, 3) uint8 RGB and masks (N, H, W) uint8, 1 = occluded, to new faces of the same shape."""
        ...


class CompletionRegistry(Registry[Callable[..., Completion]]):
    """The registry of completions, some of whose names are slots: known, but empty until a package fills them."""

    def __init__(
        self, builtin: Mapping[str, str | Callable[..., Completion]], slots: Mapping[str, str],
        group: str | None = GROUP,
    ) -> None:  # fmt: skip
        super().__init__("completion", group, dict(builtin))
        self._slots = dict(slots)

    def names(self, ready: bool = False) -> list[str]:
        """Every known name, sorted; with ``ready`` only those that can be loaded. Loads no plug-in."""
        loadable = super().names()
        return loadable if ready else sorted({*loadable, *self._slots})

    def get(self, name: str) -> Callable[..., Completion]:
        """The factory of a completion. Raises MaskbenchError for unknown names and for empty slots."""
        loadable = self.names(ready=True)
        if name in loadable:
            return super().get(name)
        if name in self._slots:
            raise MaskbenchError(
                f'completion "{name}" has no weights in this version of maskbench; install a package that supplies it '
                f"(entry point group {GROUP}), or choose one of {', '.join(loadable)}"
            )
        if name.endswith(".safetensors"):
            raise MaskbenchError(f'no completion named "{name}"; did you mean "{PREFIX}{name}"?')
        raise MaskbenchError(f'no completion named "{name}"; {nearest(name, self.names())}; or {PREFIX}PATH')


def _shipped(name: str, path: Path, device: str = "auto", engine: str = "onnxruntime", guard: int = 0) -> Completion:
    """The factory of a learned completion whose weights are in the package's data."""
    from maskbench.completions.learned import load_learned

    completion = load_learned(path, device, engine, guard=guard)
    if completion.spec.name != name:
        raise MaskbenchError(f'{path}: its card calls it "{completion.spec.name}"; reinstall maskbench')
    return completion


def own_registry() -> CompletionRegistry:
    """The registry of what this installation has: methods, slots, and those of them whose weights are in the data."""
    learned = {name: partial(_shipped, name, path) for name, path in shipped_learned().items()}
    return CompletionRegistry({**BUILTIN, **learned}, SLOTS)


COMPLETIONS = own_registry()


def load_completion(name: str, device: str = "auto", engine: str = "onnxruntime", **settings: Any) -> Completion:
    """Load a completion by its registered name or from a file; nothing is downloaded or fitted.

    Args:
        name: a key of ``COMPLETIONS``, or "torch:PATH", weights with their card beside them (``completions.learned``).
        device: "auto", "cpu" or "cuda"; the methods that ship run on the CPU whatever is asked for.
        engine: what runs the network of a learned completion, "onnxruntime" or "torch"; others have none.
        settings: options of the method; docs/completions.md lists them.

    Raises:
        MaskbenchError: no such completion, device, engine or setting, a setting out of its range, or an empty slot; or
            a file is missing or malformed.
    """
    for value, choices, kind in ((device, DEVICES, "device"), (engine, ENGINES, "engine")):
        if value not in choices:
            raise MaskbenchError(f'no {kind} named "{value}"; {nearest(value, choices)}')
    if name.startswith(PREFIX):
        from maskbench.completions.learned import load_learned

        if name == PREFIX:
            raise MaskbenchError(f'"{name}" names nothing; write {PREFIX}PATH')
        return load_learned(Path(name.removeprefix(PREFIX)), device, engine, **settings)
    try:
        factory = COMPLETIONS.get(name)
    except (ImportError, AttributeError) as error:
        raise MaskbenchError(f'completion "{name}" cannot be imported ({error}); reinstall its package') from error
    if _check_signature(name, factory, settings):
        settings["engine"] = engine
    try:
        completion = factory(device, **settings)
    except MaskbenchError:
        raise
    except Exception as error:  # a package's factory runs its own code
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise MaskbenchError(f'completion "{name}" fails to load ({said}); reinstall its package') from error
    if not isinstance(getattr(completion, "spec", None), CompletionSpec) or not getattr(completion, "digest", ""):
        raise MaskbenchError(f'the factory of completion "{name}" returned no object with spec and digest')
    return completion


def _check_signature(name: str, factory: Callable[..., Completion], settings: Mapping[str, Any]) -> bool:
    """Refuse settings that the factory does not take, before it is called; tell whether it takes an engine."""
    parameters = list(inspect.signature(factory).parameters.values())[1:]
    known = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
    for key in settings if len(known) == len(parameters) else ():
        if key not in known:
            raise MaskbenchError(f'completion "{name}" has no setting "{key}"; {nearest(key, known)}')
    return "engine" in known


def completion_digest(spec: CompletionSpec, fitted_on: str = "") -> str:
    """SHA-256 over all that decides a completion's pixels.

    Args:
        fitted_on: ``digest.array_sha256`` of the training faces, "" before fitting.
    """
    shape = [list(spec.input_size), spec.template]
    return config_sha256([spec.name, spec.version, shape, spec.weights_sha256, dict(spec.settings), fitted_on])


def checked_complete(completion: Completion, faces: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Complete faces, and let nothing malformed out: known pixels and faces without a mask keep their bytes.

    Args:
        faces: (N, H, W, 3) uint8 RGB at ``completion.spec.input_size``; N may be 0. Not written to.
        masks: (N, H, W) uint8 of 0 and 1, 1 = occluded. Not written to.

    Returns:
        (N, H, W, 3) uint8, a new array.

    Raises:
        MaskbenchError: wrong shapes or types on the way in or out, or the completion needs fitting and is not fitted.
    """
    spec = completion.spec
    check_faces(spec, faces)
    check_masks(faces, masks)
    occluded = masks.any(axis=(1, 2))
    result = faces.copy()
    if not occluded.any():
        return result
    given = faces[occluded], masks[occluded]
    completed = np.asarray(completion.complete(*given))
    if completed.shape != given[0].shape or completed.dtype != np.uint8:
        raise MaskbenchError(
            f'completion "{spec.name}" returned {completed.shape} {completed.dtype} for faces {given[0].shape} uint8'
        )
    result[masks == 1] = completed[given[1] == 1]
    return result


def check_faces(spec: CompletionSpec, faces: np.ndarray) -> None:
    """Raise MaskbenchError unless ``faces`` is (N, H, W, 3) uint8 at the completion's size."""
    wanted = (*spec.input_size, 3)
    if not isinstance(faces, np.ndarray) or faces.shape[1:] != wanted or faces.dtype != np.uint8:
        raise MaskbenchError(
            f'completion "{spec.name}" takes faces (N, {wanted[0]}, {wanted[1]}, 3) uint8, not {_described(faces)}'
        )


def check_masks(faces: np.ndarray, masks: np.ndarray) -> None:
    """Raise MaskbenchError unless ``masks`` is (N, H, W) uint8 of 0 and 1 for these faces."""
    fits = isinstance(masks, np.ndarray) and masks.shape == faces.shape[:3] and masks.dtype == np.uint8
    if not fits or (masks.size and masks.max() > 1):
        found = f"values up to {masks.max()}" if fits else _described(masks)
        raise MaskbenchError(f"masks must be {faces.shape[:3]} uint8 with 1 = occluded and 0 elsewhere, not {found}")


def _described(value: Any) -> str:
    return f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
