"""What the numbers were measured on, and how much memory the process has taken."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from deepprivacy_rt import __version__

_LIBRARIES = ("av", "numpy", "opencv-contrib-python", "openvino", "torch")
_TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd", "i8mm")
_MIB = 1 << 20


def fingerprint(device: str) -> dict[str, Any]:
    """Return hardware and operating system. Memory in MiB.

    :param device: a GPU is described where the run uses one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "cpu": _cpu_field("model name") or platform.processor() or platform.machine(),
        "cpu_flags": sorted(set(_TELLING_FLAGS) & set(_cpu_field("flags").split() + _cpu_field("Features").split())),
        "cores": cores,
        "memory_mib": _memory_mib(),
        "gpu": _gpu(device),
        "system": platform.platform(terse=True),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def versions() -> dict[str, str]:
    """Return the versions of all that takes part; a library that is not installed is left out."""
    found = {"deepprivacy-rt": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def file_identity(path: Path) -> dict[str, str]:
    """Return the name and SHA-256 of a file."""
    return {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


class MemoryPeaks:
    """The most memory that the process has held since :meth:`reset`.

    :ivar scope: ``cell`` where the operating system lets the peak be reset (Linux), else ``process``: since its start.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self.scope = "process"

    def reset(self) -> None:
        """Begin anew."""
        try:
            Path("/proc/self/clear_refs").write_text("5")
            self.scope = "cell"
        except OSError:
            self.scope = "process"
        if self._device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats(self._device)

    def ram_mib(self) -> float | None:
        """Resident memory of the process, all libraries and prepared frames included; None where nobody says."""
        if self.scope == "cell":
            found = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
            if found:
                return round(int(found[1]) / 1024, 1)
        try:
            import resource  # not on Windows
        except ImportError:
            return None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round(peak / (_MIB if sys.platform == "darwin" else 1024), 1)

    def vram_mib(self) -> float | None:
        """Memory that PyTorch took on the GPU, what it keeps in reserve included; None without a GPU."""
        if not self._device.startswith("cuda"):
            return None
        import torch

        return round(torch.cuda.max_memory_reserved(self._device) / _MIB, 1)


def _cpu_field(name: str) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    found = re.search(rf"^{name}\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1] if found else ""


def _memory_mib() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MIB
    except (OSError, ValueError, AttributeError):
        return None


def _gpu(device: str) -> dict[str, Any] | None:
    if not device.startswith("cuda"):
        return None
    import torch

    about = torch.cuda.get_device_properties(device)
    capability = f"{about.major}.{about.minor}"
    memory = about.total_memory // _MIB
    return {"name": about.name, "memory_mib": memory, "capability": capability, "cuda": torch.version.cuda}
