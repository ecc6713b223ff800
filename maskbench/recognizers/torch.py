"""Recognizers as torch modules: the engine for networks under training, and a second opinion on the ONNX one."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from maskbench.recognizers.engines import import_engine, resolve_device
from maskbench.recognizers.preprocess import mask_planes, preprocess
from maskbench.types import RecognizerSpec, Status

if TYPE_CHECKING:
    import torch


class TorchRecognizer:
    """A recognizer around a torch module.

    Args:
        module: (N, 3, H, W) float32 normalised to (N, D); it is moved to the device and put in evaluation mode. With
            ``spec.needs_mask`` it takes masks (N, 1, H, W) float32 as well, 1 = occluded.
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
        """Faces (N, H, W, 3) uint8 RGB to vectors (N, D) float32 and status (N,) int8, all OK.

        ``masks`` (N, H, W) uint8, 1 = occluded, are read where ``spec.needs_mask``; without any, nothing is occluded.
        """
        torch = self._torch
        given = [preprocess(faces, self.spec)] + ([mask_planes(faces, masks)] if self.spec.needs_mask else [])
        batch = [torch.from_numpy(part).to(self._device) for part in given]
        # TF32 would part the GPU's vectors from the CPU's by a thousand times the rounding of float32.
        exact = torch.backends.cudnn.flags(allow_tf32=False) if self._device == "cuda" else nullcontext()
        with torch.inference_mode(), exact:
            vectors = self.module(*batch).float().cpu().numpy()
        return vectors, np.full(len(faces), Status.OK, np.int8)
