"""What an evaluation runs: recognizers, fitted first where they are of that kind, and a completion before them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
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
Model = str | Recognizer  # by name, or loaded


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


@dataclass
class Bench:
    """Where systems are made.

    Attributes:
        inventory: what is tested, on none of which anything may be fitted.
        cache: where training faces and fitted models are kept; None for nowhere.
        workers: processes for finding landmarks.
        refresh: fit anew, whatever the cache holds.
    """

    options: SystemOptions
    inventory: Inventory
    cache: Path | None = None
    workers: int = 1
    refresh: bool = False
    _compared: bool = field(default=False, init=False)

    def training(self, what: str, template: str, size: tuple[int, int]) -> TrainingFaces:
        """Faces to fit ``what`` on. Raises MaskbenchError if there are none, or any picture of them is tested."""
        folder = _folder_to_fit_on(self.options, what)
        if not self._compared:
            refuse_shared_pictures(folder, self.inventory)
            self._compared = True
        return training_faces(folder, template, size, self.workers, self.cache, self.options.fit_limit)


def refuse_twice(kind: str, names: Sequence[str]) -> None:
    """Raise MaskbenchError if a name is among ``names`` more than once; ``kind`` is "model" or "completion"."""
    if twice := sorted({name for name in names if list(names).count(name) > 1}):
        raise MaskbenchError(f"{kind} {twice[0]} is named twice; once is enough")


def open_models(models: Sequence[str], options: SystemOptions, all_of_them: bool = True) -> dict[str, Model]:
    """Load every model once, before anything long is begun, for ``evaluation.evaluate`` and ``grid.run_grid``.

    Args:
        all_of_them: one that cannot be loaded raises; else it stays its name, and what runs it later is told why.

    Returns:
        For each name, in their order, the recognizer; for a classical one, which is yet to be fitted, its name.

    Raises:
        MaskbenchError: one is named twice or cannot be loaded, or two call themselves the same.
    """
    refuse_twice("model", models)
    opened, seen = {}, {}
    for name in models:
        try:
            opened[name] = _open(name, options)
        except MaskbenchError:
            if all_of_them:
                raise
            opened[name] = name
        own = _own_name(opened[name])
        if own is None:
            continue
        if own in seen:
            raise MaskbenchError(f'{seen[own]} and {name} both call themselves "{own}"; rename one in its card')
        seen[own] = name
    return opened


def _open(model: Model, options: SystemOptions) -> Model:
    if not isinstance(model, str):
        return model
    if model in CLASSICAL:
        _folder_to_fit_on(options, model)
        return model
    return load_recognizer(model, options.device, options.engine, allow_pickle=options.allow_pickle)


def _own_name(model: Model) -> str | None:
    """What a model calls itself; None for one that is not loaded."""
    if not isinstance(model, str):
        return model.spec.name
    return model if model in CLASSICAL else None


def check_completions(completions: Sequence[str], options: SystemOptions) -> None:
    """Raise MaskbenchError for a completion that there is not, is named twice, or has nothing to be fitted on."""
    from maskbench.completions.base import load_completion

    refuse_twice("completion", completions)
    for name in completions:
        if load_completion(name, options.device).spec.needs_fit:
            _folder_to_fit_on(options, name)


def load_models(models: Sequence[Model], bench: Bench) -> list[Recognizer]:
    """The recognizers to run: those that are loaded already, and by name what ``recognizers.base.load_recognizer``
    takes; a classical one's name is fitted first.

    Raises:
        MaskbenchError: one of them cannot be loaded, or has nothing to be fitted on.
    """
    loaded = [
        _fit_recognizer(model, bench) if isinstance(model, str) else model
        for model in (_open(model, bench.options) for model in models)
    ]
    return [FlipSum(recognizer) for recognizer in loaded] if bench.options.flip_sum else loaded


def _folder_to_fit_on(options: SystemOptions, what: str) -> Path:
    if options.fit_on is None:
        raise MaskbenchError(f'"{what}" is fitted on faces; give a folder of other people than are tested (--fit-on)')
    folder = Path(options.fit_on)
    if not folder.is_dir():
        what = "not a folder" if folder.exists() else "no such folder"
        raise MaskbenchError(f"{folder}: {what}; give a folder of faces, one folder per subject (--fit-on)")
    return folder


def _fit_recognizer(method: str, bench: Bench) -> Recognizer:
    """A classical recognizer fitted on ``fit_on``, kept in the cache as the file that ``models fit`` writes."""
    from maskbench.classical.options import options_for
    from maskbench.recognizers.fitted import load_fitted

    training, options = bench.training(method, CLASSICAL_TEMPLATE, CLASSICAL_SIZE), bench.options
    key = config_sha256([__version__, method, asdict(options_for(method)), training.name, training.digest])
    with tempfile.TemporaryDirectory() if bench.cache is None else nullcontext(bench.cache) as home:
        folder = Path(home) / "fitted" / key[:32]
        try:
            if bench.refresh:
                raise RecognizerError("asked for anew")
            return load_fitted(str(folder / f"{method}.safetensors"), None, options.device, options.engine, False)
        except RecognizerError:  # not there yet, or damaged
            _save_fitted(method, training, folder, options)
        return load_fitted(str(folder / f"{method}.safetensors"), None, options.device, options.engine, False)


def _save_fitted(method: str, training: TrainingFaces, folder: Path, options: SystemOptions) -> None:
    """Fit, and put the files in ``folder`` at once: of two runs that fit the same, the second changes nothing."""
    from maskbench.classical import fit_classical, save_fitted

    try:
        model = fit_classical(method, training.faces, training.subjects)
    except MaskbenchError as error:
        raise MaskbenchError(f"{options.fit_on}: {method} cannot be fitted on it: {error} (--fit-on)") from error
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


def open_occlusion(recognizers: Sequence[Recognizer], bench: Bench) -> Occlusion | None:
    """The completion, fitted where it needs it, and its mask source; None where no system looks at masks.

    Raises:
        MaskbenchError: an option is wrong, or the completion has nothing to be fitted on.
    """
    from maskbench.completions.base import load_completion

    options, inventory = bench.options, bench.inventory
    check_source(options.mask_source, options.mask_files)
    completion = load_completion(options.completion, options.device)
    if not any(wants_masks(recognizer, options) for recognizer in recognizers):
        return None
    source = open_source(options.mask_source, inventory, options.mask_files, options.device)
    spec, about = completion.spec, {}
    if spec.needs_fit:
        training = bench.training(spec.name, spec.template, spec.input_size)
        completion = completion.fit(training.faces)
        about = {"completion_fit_on": training.about}
        about["completion_subject_overlap"] = overlap_with(set(training.subjects.tolist()), inventory.protocol)
    dilate = DILATE[source.name] if options.mask_dilate is None else options.mask_dilate
    if options.completion != NONE:
        about["completion_settings"] = json.dumps(dict(spec.settings), sort_keys=True)
    return Occlusion(completion, source, dilate, about | {"mask_dilate": str(dilate)})
