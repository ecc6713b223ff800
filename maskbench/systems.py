"""What an evaluation runs: recognizers, fitted first where they are of that kind, and a completion before them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from maskbench import __version__
from maskbench.completing import Occlusion
from maskbench.digest import config_sha256
from maskbench.errors import MaskbenchError, RecognizerError
from maskbench.fitting import LIMIT, TrainingFaces, refuse_shared_pictures, training_faces
from maskbench.inventory import Inventory
from maskbench.mask_sources import DILATE, NONE, check_source, open_source
from maskbench.recognizers.base import load_recognizer
from maskbench.recognizers.builtin import CLASSICAL
from maskbench.recognizers.flip import FlipSum
from maskbench.recognizers.training import overlap_with
from maskbench.types import Recognizer

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
    models: Sequence[str], options: SystemOptions, inventory: Inventory, cache: Path | None, workers: int = 1,
    refresh: bool = False,
) -> list[Recognizer]:  # fmt: skip
    """Load every model, by what ``recognizers.base.load_recognizer`` takes; a classical one's name is fitted first.

    Args:
        inventory: what is tested, on none of which anything may be fitted.
        refresh: fit anew, whatever the cache holds.

    Raises:
        MaskbenchError: one of them cannot be loaded, or has nothing to be fitted on.
    """
    loaded = [
        _fit_recognizer(name, options, inventory, cache, workers, refresh)
        if name in CLASSICAL
        else load_recognizer(name, options.device, options.engine, allow_pickle=options.allow_pickle)
        for name in models
    ]
    return [FlipSum(recognizer) for recognizer in loaded] if options.flip_sum else loaded


def _folder_to_fit_on(options: SystemOptions, what: str) -> Path:
    if options.fit_on is None:
        raise MaskbenchError(f'"{what}" is fitted on faces; give a folder of other people than are tested (--fit-on)')
    return Path(options.fit_on)


def _training(
    what: str, template: str, size: tuple[int, int], options: SystemOptions, inventory: Inventory, cache: Path | None,
    workers: int,
) -> TrainingFaces:  # fmt: skip
    folder = _folder_to_fit_on(options, what)
    refuse_shared_pictures(folder, inventory)
    return training_faces(folder, template, size, workers, cache, options.fit_limit)


def _fit_recognizer(
    method: str, options: SystemOptions, inventory: Inventory, cache: Path | None, workers: int, refresh: bool
) -> Recognizer:
    """A classical recognizer fitted on ``fit_on``, kept in the cache as the file that ``models fit`` writes."""
    from maskbench.classical.options import options_for
    from maskbench.recognizers.fitted import load_fitted

    training = _training(method, CLASSICAL_TEMPLATE, CLASSICAL_SIZE, options, inventory, cache, workers)
    key = config_sha256([__version__, method, asdict(options_for(method)), training.name, training.digest])
    with tempfile.TemporaryDirectory() if cache is None else nullcontext(cache) as home:
        folder = Path(home) / "fitted" / key[:32]
        try:
            if refresh:
                raise RecognizerError("asked for anew")
            return load_fitted(str(folder / f"{method}.safetensors"), None, options.device, options.engine, False)
        except RecognizerError:  # not there yet, or damaged
            _save_fitted(method, training, folder)
        return load_fitted(str(folder / f"{method}.safetensors"), None, options.device, options.engine, False)


def _save_fitted(method: str, training: TrainingFaces, folder: Path) -> None:
    """Fit, and put the files in ``folder`` at once: of two runs that fit the same, the second changes nothing."""
    from maskbench.classical import fit_classical, save_fitted

    model = fit_classical(method, training.faces, training.subjects)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        save_fitted(model, Path(made) / "new" / f"{method}.safetensors", [training.name])
        shutil.rmtree(folder, ignore_errors=True)
        try:
            os.rename(Path(made) / "new", folder)
        except OSError as error:
            if not folder.is_dir():  # else another run was faster, with the same bytes
                said = f"{folder}: cannot be written ({error.strerror}); free space, or --cache never"
                raise MaskbenchError(said) from error


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

    check_source(options.mask_source, options.mask_files)
    completion = load_completion(options.completion, options.device)
    if not any(wants_masks(recognizer, options) for recognizer in recognizers):
        return None
    source = open_source(options.mask_source, inventory, options.mask_files, options.device)
    spec, about = completion.spec, {}
    if spec.needs_fit:
        training = _training(spec.name, spec.template, spec.input_size, options, inventory, cache, workers)
        completion = completion.fit(training.faces)
        about = {"completion_fit_on": training.about}
        about["completion_subject_overlap"] = overlap_with(set(training.subjects.tolist()), inventory.protocol)
    dilate = DILATE[source.name] if options.mask_dilate is None else options.mask_dilate
    if options.completion != NONE:
        about["completion_settings"] = json.dumps(dict(spec.settings), sort_keys=True)
    return Occlusion(completion, source, dilate, about | {"mask_dilate": str(dilate)})
