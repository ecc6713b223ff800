"""What an evaluation runs: recognizers, fitted first where they are of that kind, and a completion before them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from maskbench import __version__
from maskbench.completing import Occlusion
from maskbench.digest import config_sha256
from maskbench.errors import MaskbenchError
from maskbench.fitting import LIMIT, refuse_shared_pictures, training_faces
from maskbench.inventory import Inventory
from maskbench.mask_sources import DILATE, NONE, SOURCES, open_source
from maskbench.recognizers.base import load_recognizer
from maskbench.recognizers.flip import FlipSum
from maskbench.registry import nearest
from maskbench.types import Protocol, Recognizer

CLASSICAL = ("pca", "gpca", "lpp", "sr")
CLASSICAL_TEMPLATE, CLASSICAL_SIZE = "arcface112", (112, 112)


@dataclass(frozen=True)
class SystemOptions:
    """Everything beside the recognizers' names that makes the systems under test.

    Attributes:
        device: "auto", "cpu" or "cuda"; engine: "onnxruntime" or "torch".
        flip_sum: templates are sums over a face and its mirror image (``recognizers.flip``).
        allow_pickle: load checkpoints that are pickles (``torch:PATH``), by torch's restricted reader.
        completion: what replaces masked pixels, see ``completions.base.COMPLETIONS``; "none" leaves faces as they are.
        mask_source: who says where masks are: "segmenter", "file" or "oracle" (``mask_sources``).
        mask_files: folder of the mask files, for "file".
        mask_dilate: pixels, of a canvas 128 wide, by which masks grow; None for the source's own (``DILATE``).
        fit_on: folder of faces that completions and classical recognizers are fitted on; fit_limit: how many of them.
    """

    device: str = "auto"
    engine: str = "onnxruntime"
    flip_sum: bool = False
    allow_pickle: bool = False
    completion: str = NONE
    mask_source: str = "segmenter"
    mask_files: Path | None = None
    mask_dilate: int | None = None
    fit_on: Path | None = None
    fit_limit: int = LIMIT


def check_models(models: Sequence[str], options: SystemOptions) -> None:
    """Raise MaskbenchError for a model that cannot be loaded, before anything long is begun."""
    for name in models:
        if name in CLASSICAL:
            _folder_to_fit_on(options, name)
        else:
            load_recognizer(name, options.device, options.engine, allow_pickle=options.allow_pickle)


def check_completions(completions: Sequence[str], options: SystemOptions) -> None:
    """Raise MaskbenchError for a completion that there is not, or that has nothing to be fitted on."""
    from maskbench.completions.base import load_completion

    for name in completions:
        if load_completion(name, options.device).spec.needs_fit:
            _folder_to_fit_on(options, name)


def load_models(
    models: Sequence[str], options: SystemOptions, protocol: Protocol, cache: Path | None, workers: int = 1
) -> list[Recognizer]:
    """Load every model, by what ``recognizers.base.load_recognizer`` takes; a classical one's name is fitted first.

    Raises:
        MaskbenchError: one of them cannot be loaded, or has nothing to be fitted on.
    """
    loaded = []
    for name in models:
        if name in CLASSICAL:
            loaded.append(_fit_recognizer(name, options, protocol, cache, workers))
        else:
            loaded.append(
                load_recognizer(name, options.device, options.engine, allow_pickle=options.allow_pickle)
            )
    return [FlipSum(recognizer) for recognizer in loaded] if options.flip_sum else loaded


def _folder_to_fit_on(options: SystemOptions, what: str) -> Path:
    if options.fit_on is None:
        raise MaskbenchError(f'"{what}" is fitted on faces; give a folder of other people than are tested (--fit-on)')
    return Path(options.fit_on)


def _fit_recognizer(
    method: str, options: SystemOptions, protocol: Protocol, cache: Path | None, workers: int
) -> Recognizer:
    """A classical recognizer fitted on ``fit_on``, kept in the cache as the file that ``models fit`` writes."""
    from maskbench.classical import fit_classical, save_fitted
    from maskbench.recognizers.fitted import load_fitted

    folder = _folder_to_fit_on(options, method)
    training = training_faces(folder, CLASSICAL_TEMPLATE, CLASSICAL_SIZE, workers, cache, options.fit_limit)
    refuse_shared_pictures(training, protocol, folder)
    key = config_sha256([__version__, method, folder.resolve().name, training.digest])
    with tempfile.TemporaryDirectory() if cache is None else nullcontext(cache) as home:
        path = Path(home) / "fitted" / key[:32] / f"{method}.safetensors"
        if not path.with_suffix(".json").is_file():  # the card is written last
            save_fitted(fit_classical(method, training.faces, training.subjects), path, [folder.resolve().name])
        return load_fitted(str(path), None, options.device, options.engine, False)


def wants_masks(recognizer: Recognizer, options: SystemOptions) -> bool:
    """Whether masks matter to a system: there is a completion, or the recognizer itself looks at them."""
    return options.completion != NONE or recognizer.spec.needs_mask


def open_occlusion(
    options: SystemOptions, recognizers: Sequence[Recognizer], inventory: Inventory, cache: Path | None,
    workers: int = 1,
) -> Occlusion | None:  # fmt: skip
    """The completion, fitted where it needs it, and its mask source; None where no system looks at masks.

    Raises:
        MaskbenchError: an option is wrong, or the completion has nothing to be fitted on.
    """
    from maskbench.completions.base import load_completion

    if options.mask_source not in SOURCES:
        raise MaskbenchError(f'no mask source "{options.mask_source}"; {nearest(options.mask_source, SOURCES)}')
    completion = load_completion(options.completion, options.device)
    if not any(wants_masks(recognizer, options) for recognizer in recognizers):
        return None
    source = open_source(options.mask_source, inventory, options.mask_files, options.device)
    spec = completion.spec
    if spec.needs_fit:
        folder = _folder_to_fit_on(options, options.completion)
        training = training_faces(folder, spec.template, spec.input_size, workers, cache, options.fit_limit)
        refuse_shared_pictures(training, inventory.protocol, folder)
        completion = completion.fit(training.faces)
    dilate = DILATE[source.name] if options.mask_dilate is None else options.mask_dilate
    return Occlusion(completion, source, dilate)
