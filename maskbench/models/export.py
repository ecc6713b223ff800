"""torch module to ONNX file."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch

from maskbench.files import write_bytes

OPSET = 17


@contextmanager
def _without_onnx() -> Iterator[None]:
    """Lets torch export where the ``onnx`` package is not installed.

    The exporter writes the file without that package and then asks it only whether the graph calls functions written
    in onnxscript, which plain modules never do. Answering "a graph without nodes" ends that search.
    """
    if "onnx" in sys.modules or find_spec("onnx") is not None:
        yield
        return
    answer = ModuleType("onnx")
    answer.load_model_from_string = lambda _: SimpleNamespace(graph=SimpleNamespace(node=[]))  # type: ignore[attr-defined]
    sys.modules["onnx"] = answer
    try:
        yield
    finally:
        del sys.modules["onnx"]


def onnx_bytes(module: torch.nn.Module, size: tuple[int, int], channels: int = 3, masks: bool = False) -> bytes:
    """``module`` in evaluation mode as an ONNX file: input "faces" (N, channels, H, W), output "embeddings", any N.

    The same weights and the same torch give the same bytes. The module's mode and device stay as they were.

    Args:
        module: takes (N, channels, H, W) float32.
        size: (height, width) of the input.
        masks: whether it takes masks (N, 1, H, W) float32 of 0 and 1 too: the file's second input, "masks".
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    training = module.training
    names = ["faces", "masks"][: 1 + masks]
    example = tuple(torch.zeros(1, count, *size, device=device) for count in (channels, 1)[: 1 + masks])
    stream = io.BytesIO()
    try:
        module.eval()
        with _without_onnx(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore", DeprecationWarning)  # the other exporter needs two more packages
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # sides become constants, and are meant to
            warnings.filterwarnings("ignore", "Constant folding")  # onnxruntime folds what torch does not
            torch.onnx.export(
                module,
                example,
                stream,
                opset_version=OPSET,
                dynamo=False,
                input_names=names,
                output_names=["embeddings"],
                dynamic_axes={name: {0: "batch"} for name in (*names, "embeddings")},
            )
    finally:
        module.train(training)
    return stream.getvalue()


def export_onnx(
    module: torch.nn.Module, path: Path | str, size: tuple[int, int] | None = None, masks: bool = False
) -> None:
    """Write ``module`` to ``path`` as ONNX, atomically; see ``onnx_bytes``.

    Args:
        size: (height, width) of the input; by default the module's own ``size``, a number or a pair.
        masks: whether the module takes masks too.

    Raises:
        MaskbenchError: the file cannot be written.
    """
    if size is None:
        own = module.size
        size = (own, own) if isinstance(own, int) else tuple(own)
    write_bytes(Path(path), onnx_bytes(module, size, masks=masks))
