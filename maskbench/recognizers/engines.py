"""Inference engines and devices: what may be asked for, and what is there."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from maskbench.errors import RecognizerError
from maskbench.parallel import default_workers
from maskbench.registry import nearest

ENGINES = ("onnxruntime", "torch")
DEVICES = ("auto", "cpu", "cuda")
# More threads than this do not help one small network with the batches that maskbench sends.
MAX_THREADS = 8
# The extra of maskbench that brings a module.
EXTRAS = {
    "onnxruntime": "cpu",
    "torch": "cpu",
    "huggingface_hub": "hub",
    "insightface": "insightface",
    "lightning": "train",
}


def first_line(error: BaseException) -> str:
    """The kind of an exception and the first line of what it says, for a message of one line."""
    text = (str(error).strip().splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def remedy_for(error: BaseException, package: str = "") -> str:
    """What helps against an import that failed: maskbench's extra for a module that is missing, else the package."""
    module = (getattr(error, "name", None) or "").partition(".")[0] if isinstance(error, ImportError) else ""
    if module in EXTRAS:
        return f"pip install 'maskbench[{EXTRAS[module]}]'"
    if isinstance(error, ModuleNotFoundError) and module and module != "maskbench":
        return f"install {module}, or reinstall {package or 'the package that needs it'}"
    return f"reinstall {package}" if package else "reinstall its package"


def import_extra(module: str, what: str) -> ModuleType:
    """Import a package that an extra of maskbench brings.

    Args:
        what: what it is needed for, to begin the message with.

    Raises:
        RecognizerError: it is not installed; the message names the extra.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise RecognizerError(
            f"{what} needs {module} ({first_line(error)}); pip install 'maskbench[{EXTRAS[module]}]'"
        ) from error


def import_engine(engine: str) -> ModuleType:
    """Import "onnxruntime" or "torch".

    Raises:
        RecognizerError: no such engine, or it is not installed; the message names the extra that installs it.
    """
    if engine not in ENGINES:
        raise RecognizerError(f'no engine named "{engine}"; {nearest(engine, ENGINES)}')
    try:
        return import_module(engine)
    except ImportError as error:
        raise RecognizerError(f"{engine} cannot be imported ({error}); pip install 'maskbench[cpu]'") from error


def resolve_device(device: str, engine: str) -> str:
    """Turn "auto", "cpu" or "cuda" into "cpu" or "cuda", as far as ``engine`` can serve it.

    onnxruntime is asked for its CUDA provider, torch for a CUDA device. onnxruntime lists that provider even on a
    machine without a GPU, so who opens a session must still look at what it runs on.

    Raises:
        RecognizerError: the engine is missing, or "cuda" was asked for and the engine has none.
    """
    if device not in DEVICES:
        raise RecognizerError(f'no device named "{device}"; {nearest(device, DEVICES)}')
    module = import_engine(engine)
    if device == "cpu":
        return "cpu"
    if engine == "torch":
        has_cuda = module.cuda.is_available()
    else:
        has_cuda = "CUDAExecutionProvider" in module.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise no_cuda(engine)
    return "cuda" if has_cuda else "cpu"


def no_cuda(engine: str) -> RecognizerError:
    """The error for a GPU that was asked for and is not there."""
    return RecognizerError(
        f"{engine} finds no CUDA device; pip install 'maskbench[gpu]' on a machine with one, or choose device cpu"
    )


def thread_count() -> int:
    """Threads for one network: the processors this process may use, at most ``MAX_THREADS``."""
    return min(default_workers(), MAX_THREADS)
