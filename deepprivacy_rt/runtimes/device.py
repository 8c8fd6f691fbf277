"""Choosing what to compute on."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from deepprivacy_rt.errors import DeviceError


def choose_device(name: str, *, needed: bool) -> tuple[str, tuple[str, ...]]:
    """Return the device to compute on, and notes about the choice.

    :param name: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; ``auto`` takes a GPU that works.
    :param needed: False where nothing will run on it; then ``auto`` does not look for one.
    Raises DeviceError, with the cure, where a device was named that is not there.
    """
    if name == "cpu" or (name == "auto" and not (needed and _may_have_gpu())):
        return "cpu", ()
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda", ()
        if torch.backends.mps.is_available():
            return "mps", ()
        unused = shutil.which("nvidia-smi") is not None
        note = f"an NVIDIA driver is installed, but {_no_cuda_cause()}: computing on the CPU"
        return "cpu", (note,) if unused else ()
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError("device mps: only Macs with Apple silicon have it; use --device auto or cpu")
        return name, ()
    if not torch.cuda.is_available():
        raise DeviceError(f"device {name}: {_no_cuda_cause()}; mend that, or use --device auto or cpu")
    present = torch.cuda.device_count()
    if int(name.partition(":")[2] or 0) >= present:
        raise DeviceError(f"device {name}: this machine has {present}, cuda:0 to cuda:{present - 1}; name one of them")
    return name, ()


def keep_torch_on_one_thread() -> None:
    """Keep PyTorch, where something has imported it, from starting threads of its own on the CPU, in this process.

    They spin while they wait: beside other work on two cores, one look of BlazeFace takes 15 ms with one thread and may
    take seconds with two. The import, which takes seconds, is left to who needs it.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def _may_have_gpu() -> bool:
    """Say whether it is worth to ask PyTorch, whose import takes seconds: on Linux, a GPU that works has a device file
    (NVIDIA's driver, the same under Windows, AMD's)."""
    if sys.platform != "linux" or shutil.which("nvidia-smi") is not None:
        return True
    return any(Path("/dev").glob("nvidia*")) or Path("/dev/dxg").exists() or Path("/dev/kfd").exists()


def _no_cuda_cause() -> str:
    import torch

    if torch.version.cuda is None:
        return f"the installed PyTorch ({torch.__version__}) was built without CUDA; install a CUDA build of torch"
    return "PyTorch finds no CUDA device that works; `nvidia-smi` should list one, and its driver be new enough"
