"""Recognizers as torch modules: the engine for networks under training, and a second opinion on the ONNX one."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from maskbench.recognizers.engines import import_engine, resolve_device
from maskbench.recognizers.preprocess import preprocess
from maskbench.types import RecognizerSpec, Status

if TYPE_CHECKING:
    import torch


class TorchRecognizer:
    """A recognizer around a torch module.

    Args:
        module: (N, 3, H, W) float32 normalised to (N, D); it is moved to the device and put in evaluation mode.
        spec: its specification; ``engine`` is replaced by the device that it runs on.
        device: "auto", "cpu" or "cuda".
        network_id: what tells this network from others with the same ``spec``, for the cache of embeddings: change it
            with the module's code, which ``spec.weights_sha256`` does not cover.

    Raises:
        RecognizerError: torch is missing, or "cuda" was asked for and there is none.
    """

    def __init__(
        self, module: torch.nn.Module, spec: RecognizerSpec, device: str = "auto", network_id: str = ""
    ) -> None:
        self._torch = import_engine("torch")
        self._device = resolve_device(device, "torch")
        self.module = module.to(self._device).eval()
        self.spec = replace(spec, engine=f"torch:{self._device}")
        self.network_id = network_id

    def embed(self, faces: np.ndarray, masks: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Faces (N, H, W, 3) uint8 RGB to vectors (N, D) float32 and status (N,) int8, all OK."""
        torch = self._torch
        batch = torch.from_numpy(preprocess(faces, self.spec))
        # TF32 would part the GPU's vectors from the CPU's by a thousand times the rounding of float32.
        exact = torch.backends.cudnn.flags(allow_tf32=False) if self._device == "cuda" else nullcontext()
        with torch.inference_mode(), exact:
            vectors = self.module(batch.to(self._device)).float().cpu().numpy()
        return vectors, np.full(len(faces), Status.OK, np.int8)
