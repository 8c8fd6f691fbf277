"""What a Linux video device says about itself, asked with ioctl: no other program and no library is needed.

Layouts and numbers are those of <linux/videodev2.h>.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

_QUERYCAP, _ENUM_FMT, _ENUM_FRAMESIZES, _ENUM_FRAMEINTERVALS = 0x80685600, 0xC0405602, 0xC02C564A, 0xC034564B
_CAPABILITY, _FORMAT = struct.Struct("=16s32s32s6I"), struct.Struct("=3I32s5I")
_SIZE, _INTERVAL = struct.Struct("=3I6I2I"), struct.Struct("=5I6I2I")
_CAN_CAPTURE, _CAN_OUTPUT, _HAS_DEVICE_CAPABILITIES = 0x1, 0x2, 0x80000000
_BUFFER_CAPTURE, _DISCRETE = 1, 1
_COMMON_SIZES = ((320, 240), (640, 360), (640, 480), (800, 600), (1280, 720), (1920, 1080), (2560, 1440), (3840, 2160))
_COMMON_RATES = (Fraction(60), Fraction(30), Fraction(25), Fraction(15), Fraction(5))
_MOST = 256
"""Entries of one list that are read at most: a faulty driver may never say that the list has ended."""

Ioctl = Callable[[int, int, bytes], bytes]
"""``fcntl.ioctl`` as it is used here: descriptor, request, structure in; structure out. Raises OSError."""


class Capability(NamedTuple):
    """Answer to VIDIOC_QUERYCAP."""

    driver: str
    name: str
    bus: str
    can_capture: bool
    can_output: bool


class V4l2Mode(NamedTuple):
    """One pixel format at one size.

    :ivar fourcc: V4L2's name of the pixel format, for example "YUYV" or "MJPG".
    :ivar rates: frames per second that are offered, highest first; empty where the driver does not say.
    """

    fourcc: str
    width: int
    height: int
    rates: tuple[Fraction, ...]


def system_ioctl(descriptor: int, request: int, structure: bytes) -> bytes:
    """Call the operating system. Raises OSError."""
    import fcntl  # not there on Windows

    return fcntl.ioctl(descriptor, request, structure)


def query(path: Path, ioctl: Ioctl = system_ioctl) -> tuple[Capability, tuple[V4l2Mode, ...]]:
    """Return what a device is, and the modes it captures in. Opens it without starting it. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        capability = _capability(descriptor, ioctl)
        return capability, tuple(_modes(descriptor, ioctl)) if capability.can_capture else ()
    finally:
        os.close(descriptor)


def _capability(descriptor: int, ioctl: Ioctl) -> Capability:
    answer = _CAPABILITY.unpack(ioctl(descriptor, _QUERYCAP, bytes(_CAPABILITY.size)))
    driver, name, bus, _version, all_nodes, this_node = answer[:6]
    flags = this_node if all_nodes & _HAS_DEVICE_CAPABILITIES else all_nodes
    return Capability(_text(driver), _text(name), _text(bus), bool(flags & _CAN_CAPTURE), bool(flags & _CAN_OUTPUT))


def _modes(descriptor: int, ioctl: Ioctl) -> Iterator[V4l2Mode]:
    for format_ in _listed(
        lambda index: _FORMAT.pack(index, _BUFFER_CAPTURE, 0, b"", 0, 0, 0, 0, 0), descriptor, _ENUM_FMT, ioctl
    ):
        code = _FORMAT.unpack(format_)[4]
        for width, height in _sizes(descriptor, code, ioctl):
            fourcc = struct.pack("=I", code & 0x7FFFFFFF).decode("ascii", "replace").strip()
            yield V4l2Mode(fourcc, width, height, _rates(descriptor, code, width, height, ioctl))


def _sizes(descriptor: int, code: int, ioctl: Ioctl) -> list[tuple[int, int]]:
    sizes = []
    for answer in _listed(lambda index: _SIZE.pack(index, code, *[0] * 9), descriptor, _ENUM_FRAMESIZES, ioctl):
        _, _, kind, *numbers = _SIZE.unpack(answer)
        if kind == _DISCRETE:
            sizes.append((numbers[0], numbers[1]))
            continue
        least_w, most_w, step_w, least_h, most_h, step_h = (max(1, number) for number in numbers[:6])
        fitting = [
            (width, height)
            for width, height in (*_COMMON_SIZES, (most_w, most_h))
            if least_w <= width <= most_w and least_h <= height <= most_h
            if (width - least_w) % step_w == 0 and (height - least_h) % step_h == 0
        ]
        return sorted(set(fitting))
    return sizes


def _rates(descriptor: int, code: int, width: int, height: int, ioctl: Ioctl) -> tuple[Fraction, ...]:
    rates = set()
    for answer in _listed(
        lambda index: _INTERVAL.pack(index, code, width, height, *[0] * 9), descriptor, _ENUM_FRAMEINTERVALS, ioctl
    ):
        _, _, _, _, kind, *numbers = _INTERVAL.unpack(answer)
        if kind == _DISCRETE:
            rates |= _rate(numbers[0], numbers[1])
            continue
        highest, lowest = _rate(numbers[0], numbers[1]), _rate(numbers[2], numbers[3])
        between = {rate for rate in _COMMON_RATES if all(rate >= low for low in lowest)}
        rates |= highest | {rate for rate in between if all(rate <= high for high in highest)}
        break
    return tuple(sorted(rates, reverse=True))


def _rate(numerator: int, denominator: int) -> set[Fraction]:
    return {Fraction(denominator, numerator)} if numerator and denominator else set()


def _listed(question: Callable[[int], bytes], descriptor: int, request: int, ioctl: Ioctl) -> Iterator[bytes]:
    """Ask for entry 0, 1, 2, … until the driver says that there is no such entry, or that it has no such list."""
    for index in range(_MOST):
        try:
            answer = ioctl(descriptor, request, question(index))
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY):
                return
            raise
        yield answer


def _text(field: bytes) -> str:
    text = field.split(b"\0")[0].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "?" for char in text)
