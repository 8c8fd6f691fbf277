"""Teaching the generator to do with mouth and eyes what it is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from deepprivacy_rt.errors import StageError
from deepprivacy_rt.expressions.face_mesh import FaceMesh, crop_of, openings, to_expression
from deepprivacy_rt.geometry import RegionGeometry
from deepprivacy_rt.networks.blocks import keypoint_maps
from deepprivacy_rt.networks.probe import ExpressionProbe
from deepprivacy_rt.types import Box

_LABELS = 16
"""Generated faces per step that Face Mesh looks at, at most: it runs on the CPU, 2 to 3 ms each."""


class Follower:
    """The probe, its optimiser, and Face Mesh, from which it learns.

    :param mesh: None: the probe learns from photographs alone, and generated faces may learn to fool it.
    """

    def __init__(self, device: torch.device, mesh: FaceMesh | None, learning_rate: float = 1e-3) -> None:
        self.probe = ExpressionProbe().to(device)
        self._optimizer = torch.optim.Adam(self.probe.parameters(), lr=learning_rate)
        self._mesh = mesh
        self.steps = 0

    def learn(self, images: Tensor, keypoints: Tensor, expressions: Tensor) -> Tensor:
        """Take one step on labelled faces; return the mean error."""
        error = F.smooth_l1_loss(self.probe(images.detach(), keypoints), expressions, beta=0.1)
        self._optimizer.zero_grad(set_to_none=True)
        error.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.steps += 1
        return error.detach()

    def loss(self, images: Tensor, keypoints: Tensor, expressions: Tensor) -> Tensor:
        """Return how far faces are from what they were told, with a gradient for the faces alone."""
        self.probe.requires_grad_(False)
        loss = F.smooth_l1_loss(self.probe(images, keypoints), expressions, beta=0.1)
        self.probe.requires_grad_(True)
        return loss

    @staticmethod
    def places(keypoints: Tensor, size: int) -> Tensor:
        """Return where eyes and mouth are, (n, 1, size, size), 0..1."""
        maps = keypoint_maps(keypoints[:, [0, 1, 3]], size, sigma=size / 20)
        return maps.amax(dim=1, keepdim=True)

    def label(self, images: Tensor, keypoints: Tensor, region: RegionGeometry) -> tuple[Tensor, Tensor]:
        """Have Face Mesh read the first of some generated faces; return labels (m, 3), and which were read, (n,) bool.

        :param images: (n, 3, s, s) patches in -1..1, whole composites.
        """
        read = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        labels = []
        if self._mesh is not None:
            size = images.shape[-1]
            pictures = ((images[:_LABELS].detach().clamp(-1, 1) + 1) * 127.5).byte().permute(0, 2, 3, 1).cpu().numpy()
            points = ((keypoints[:_LABELS].detach().cpu().numpy() + 1) * (size / 2) - 0.5).astype(np.float32)
            box = face_box(size, region)
            for row, picture in enumerate(pictures):
                found = self._read(np.ascontiguousarray(picture), box, points[row])
                if found is not None:
                    labels.append(found)
                    read[row] = True
        return torch.tensor(labels, dtype=torch.float32, device=images.device).reshape(-1, 3), read

    def _read(self, picture: Any, box: Box, points: Any) -> tuple[float, float, float] | None:
        if self._mesh is None:
            return None
        try:
            return to_expression(openings(self._mesh.points(picture, crop_of(box, points)))).openings
        except StageError:
            return None

    def state_dict(self) -> dict[str, Any]:
        """Return all state."""
        return {"probe": self.probe.state_dict(), "optimizer": self._optimizer.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` returned."""
        self.probe.load_state_dict(state["probe"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.steps = int(state["steps"])


def face_box(size: int, region: RegionGeometry) -> Box:
    """Return where a face's box lies in every patch of that size, in pixels."""
    unit = size / region.side
    middle = np.array([(size - 1) / 2, (size - 1) / 2 - region.center_y * unit])
    return Box(*(middle - unit / 2), *(middle + unit / 2))


def drawn_expressions(expressions: Tensor, random: torch.Generator) -> Tensor:
    """Return expressions for faces that reconstruct nothing: another picture's, half of the mouths opened at will.

    Eyes are as narrow as the pictures have them, no narrower: told to shut eyes that it never saw shut, a generator
    draws streaks across them.

    :param expressions: (n, 3) of the batch's pictures.
    """
    count, device = len(expressions), expressions.device
    other = expressions[torch.randperm(count, device=device, generator=random)]
    freely, opening = torch.rand(2, count, 1, device=device, generator=random)
    return torch.cat([torch.where(freely < 0.5, 0.7 * opening, other[:, :1]), other[:, 1:]], dim=1)
