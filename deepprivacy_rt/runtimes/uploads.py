"""Pictures on their way to a device: each once, however many stages look at it there."""

from __future__ import annotations

import threading
import weakref

import torch
from torch import Tensor

from deepprivacy_rt.types import Image


class Uploads:
    """Holds pictures on a device for as long as they live here. Safe to share between threads.

    A frame waits a second for the tracker, and is then needed again: it must not travel twice. The copy goes when the
    picture goes.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._lock = threading.RLock()  # a picture may go, and be forgotten, while this very thread holds it
        self._held: dict[int, tuple[weakref.ref[Image], Tensor]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def of(self, image: Image) -> Tensor:
        """Return the picture on the device, (h, w, 3) uint8 RGB; nobody writes to it.

        :param image: (h, w, 3) uint8, which does not change any more.
        """
        key = id(image)
        with self._lock:
            held = self._held.get(key)
            if held is not None and held[0]() is image:
                return held[1]
            # A copy also where the device is the CPU: the picture's memory may belong to a decoder.
            copy = torch.tensor(image, device=self.device)
            self._held[key] = (weakref.ref(image, lambda gone: self._forget(key, gone)), copy)
            return copy

    def _forget(self, key: int, gone: weakref.ref[Image]) -> None:
        with self._lock:
            held = self._held.get(key)
            if held is not None and held[0] is gone:  # the number may be another picture's by now
                del self._held[key]
