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
from maskbench.completions.base import Completion
from maskbench.digest import config_sha256
from maskbench.errors import MaskbenchError, RecognizerError
from maskbench.fitting import LIMIT, TrainingFaces, refuse_shared_pictures, training_faces
from maskbench.inventory import Inventory
from maskbench.mask_sources import DILATE, NONE, MaskSource, check_source, open_source
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
        completion: what replaces masked pixels before every recognizer, as ``completions.base.load_completion`` takes
            it; "none" leaves faces as they are. None: what each recognizer asks for itself (``RecognizerSpec``).
        mask_source: who says where masks are: "segmenter", "file" or "oracle" (``mask_sources``).
        mask_files: folder of the mask files, for "file".
        mask_dilate: pixels, of a canvas 128 wide, by which masks grow; None for the source's own (``DILATE``).
        fit_on: folder of faces that completions and classical recognizers are fitted on; fit_limit: how many of them.
    """

    device: str = "auto"
    engine: str = "onnxruntime"
    flip_sum: bool = False
    allow_pickle: bool = False
    completion: str | None = None
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
    refuse_twice("completion", completions)
    seen: dict[str, str] = {}
    for name in completions:
        spec = _load_completion(name, options).spec
        if spec.needs_fit:
            _folder_to_fit_on(options, name)
        if spec.name in seen:
            raise MaskbenchError(f'{seen[spec.name]} and {name} both call themselves "{spec.name}"; rename one')
        seen[spec.name] = name


def _load_completion(name: str, options: SystemOptions) -> Completion:
    from maskbench.completions.base import load_completion

    return load_completion(name, options.device, options.engine)


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


def completion_of(recognizer: Recognizer, options: SystemOptions) -> str:
    """What is put before a recognizer: the completion that was asked for, else the one that its card names.

    Raises:
        MaskbenchError: the card names a file, and whatever loaded the recognizer does not say where the card lies.
    """
    if options.completion is not None:
        return options.completion
    own, said = getattr(recognizer, "own_completion", ""), recognizer.spec.completion
    if not own and ":" in said:
        raise MaskbenchError(f"{recognizer.spec.name}: nobody knows where its {said} is; name it with --completion")
    return own or said or NONE


def load_completions(recognizers: Sequence[Recognizer], options: SystemOptions) -> list[Completion]:
    """The completion before each recognizer, not fitted yet; the same object for those that have the same.

    Raises:
        MaskbenchError: there is no such completion, or a mask source is wrong.
    """
    check_source(options.mask_source, options.mask_files)
    names = [completion_of(recognizer, options) for recognizer in recognizers]
    loaded = {name: _load_completion(name, options) for name in dict.fromkeys(names)}
    return [loaded[name] for name in names]


def wants_masks(recognizer: Recognizer, completion: Completion) -> bool:
    """Whether masks matter to a system: there is a completion, or the recognizer itself looks at them."""
    return completion.spec.name != NONE or recognizer.spec.needs_mask


def open_occlusions(
    recognizers: Sequence[Recognizer], completions: Sequence[Completion], bench: Bench
) -> list[Occlusion | None]:
    """For each recognizer its completion, fitted where it needs it, and the mask source; None where it looks at no
    masks. Recognizers with the same completion share one.

    Raises:
        MaskbenchError: an option is wrong, or a completion has nothing to be fitted on.
    """
    looking = [wants_masks(*pair) for pair in zip(recognizers, completions, strict=True)]
    if not any(looking):
        return [None] * len(looking)
    options = bench.options
    source = open_source(options.mask_source, bench.inventory, options.mask_files, options.device)
    needed = {id(completion): completion for completion, looks in zip(completions, looking, strict=True) if looks}
    made = {key: make_occlusion(completion, source, bench) for key, completion in needed.items()}
    return [made[id(one)] if looks else None for one, looks in zip(completions, looking, strict=True)]


def make_occlusion(completion: Completion, source: MaskSource, bench: Bench) -> Occlusion:
    """A completion, fitted where it needs it, with the masks of a source, and what results say of it.

    Raises:
        MaskbenchError: there is nothing to fit it on.
    """
    options, spec, about = bench.options, completion.spec, {}
    if spec.needs_fit:
        training = bench.training(spec.name, spec.template, spec.input_size)
        completion = completion.fit(training.faces)
        about = {"completion_fit_on": training.about}
        about["completion_subject_overlap"] = overlap_with(set(training.subjects.tolist()), bench.inventory.protocol)
    elif spec.weights_sha256:
        known = getattr(completion, "training_subjects", None)
        about = {"completion_weights": spec.weights_sha256, "completion_licence": spec.licence}
        about["completion_subject_overlap"] = overlap_with(known, bench.inventory.protocol)
    dilate = DILATE[source.name] if options.mask_dilate is None else options.mask_dilate
    if spec.name != NONE:
        about["completion_settings"] = json.dumps(dict(spec.settings), sort_keys=True)
    return Occlusion(completion, source, dilate, about | {"mask_dilate": str(dilate)})
