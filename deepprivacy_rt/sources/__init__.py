"""Sources of frames, one file each; and which files are worth opening."""

from __future__ import annotations

from pathlib import Path

READ_ONLY_SUFFIXES = (".heic", ".heif")
"""Endings of pictures that are read and not written: encoders of HEVC are GPL, or cost a fee."""
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".jp2"),
    *READ_ONLY_SUFFIXES,
)
"""Endings, in lower case, that an image source reads."""

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".flv", ".wmv", ".asf", ".gif"),
    *(".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".vob", ".ogv", ".mxf", ".dv", ".y4m"),
    *(".h264", ".264", ".hevc", ".265"),
)
"""Endings, in lower case, that a file source reads."""


def is_image(path: Path) -> bool:
    """Tell by its ending whether a file is a picture."""
    return path.suffix.strip().lower() in IMAGE_SUFFIXES


def is_video(path: Path) -> bool:
    """Tell by its ending whether a file is a video; animated GIFs count."""
    return path.suffix.strip().lower() in VIDEO_SUFFIXES
