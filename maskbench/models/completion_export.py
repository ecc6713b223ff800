"""A trained completion network as an ONNX file."""

from __future__ import annotations

import io
import warnings

import torch
from torch import Tensor, nn

from maskbench.models.export import OPSET, _without_onnx
from maskbench.models.inpainter import compose


class Completed(nn.Module):
    """A generator, ``network(faces, holes) -> (..., output)``, that answers with the composed picture."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, faces: Tensor, holes: Tensor) -> Tensor:
        """(N, 3, S, S) and (N, 1, S, S) to (N, 3, S, S): see ``compose``."""
        return compose(self.network(faces, holes)[-1], faces, holes)


def completion_onnx(network: nn.Module, side: int = 128) -> bytes:
    """The network as an ONNX file, of opset 17.

    Inputs "faces" (N, 3, side, side) in [-1, 1] and "holes" (N, 1, side, side), float32, 1 = hole; output "completed"
    (N, 3, side, side): known pixels exactly as given, the others clipped to [-1, 1]. Any N. The same weights and the
    same torch give the same bytes. The network's mode stays as it was.

    Args:
        network: an ``Inpainter``, a ``FaceCompletion``, an ``ICT``, or anything else with their ``forward``, on the
            processor.
        side: any that the network takes; it is fixed in the file.

    Raises:
        MaskbenchError: the network does not take this side.
    """
    training, stream = network.training, io.BytesIO()
    example = torch.zeros(2, 3, side, side), torch.zeros(2, 1, side, side)
    try:
        network.eval()
        with _without_onnx(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore", DeprecationWarning)  # the other exporter needs two more packages
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # sides become constants, and are meant to
            warnings.filterwarnings("ignore", "Constant folding")  # onnxruntime folds what torch does not
            torch.onnx.export(
                Completed(network), example, stream, opset_version=OPSET, dynamo=False,
                input_names=["faces", "holes"], output_names=["completed"],
                dynamic_axes={name: {0: "batch"} for name in ("faces", "holes", "completed")},
            )  # fmt: skip
    finally:
        network.train(training)
    return stream.getvalue()
