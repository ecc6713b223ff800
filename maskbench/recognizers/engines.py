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
