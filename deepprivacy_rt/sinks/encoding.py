"""How the video is encoded: encoder, quality, pixel format and colour tags, and what is lost by that."""

from __future__ import annotations

from dataclasses import dataclass, replace

import av

from deepprivacy_rt.errors import UsageError
from deepprivacy_rt.media.colour import (
    FULL_RANGE,
    LIMITED_RANGE,
    MATRIX_BT709,
    MATRIX_RGB,
    UNSPECIFIED,
    ColourTags,
    planar_format,
)
from deepprivacy_rt.media.info import VideoInfo

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
_ALIASES = {
    "h264": "libx264",
    "avc": "libx264",
    "hevc": "libx265",
    "h265": "libx265",
    "vp8": "libvpx",
    "vp9": "libvpx-vp9",
    "av1": "libsvtav1",
}
# Default and highest rate factor. x264 at 22 against 19, veryfast, on an anonymized 720p clip: 12 % less CPU time, 30 %
# smaller, SSIM to what was encoded 0.991 against 0.993.
_CRF = {"libx264": (22, 51), "libx265": (22, 51), "libvpx": (10, 63), "libvpx-vp9": (24, 63), "libsvtav1": (28, 63)}
_QSCALE = ("mpeg4", "mpeg2video", "wmv2", "wmv1", "msmpeg4", "flv", "h263", "mjpeg")
_CARRIES_COLOUR = {"h264", "hevc", "vp9", "av1", "prores"}
_NEEDS_EVEN = {"h264", "hevc", "wmv1", "wmv2"}


@dataclass(frozen=True, slots=True)
class Encoding:
    """A decided way to encode.

    :ivar encoder: FFmpeg's name of the encoder.
    :ivar pixel_format: FFmpeg's name of the pixel format.
    :ivar tags: colour description of the written video.
    :ivar options: the encoder's own options.
    :ivar quantiser: fixed quantiser for the encoders without a rate factor, or None.
    :ivar notes: what differs from the source, one line each.
    """

    encoder: str
    pixel_format: str
    tags: ColourTags
    options: dict[str, str]
    quantiser: int | None
    notes: tuple[str, ...]


def choose_encoding(
    default: str, info: VideoInfo, size: tuple[int, int], codec: str | None, quality: int | None, preset: str
) -> Encoding:
    """Decide how to encode ``size`` (width, height) pixels of a source. Raises UsageError for what cannot be."""
    encoder = _ALIASES.get((codec or default).lower(), codec or default)
    try:
        av_codec = av.Codec(encoder, "w")
    except (av.FFmpegError, ValueError) as error:
        raise UsageError(f"video codec {codec!r} is not available; use one of {', '.join(sorted(_ALIASES))}") from error
    if av_codec.type != "video":
        raise UsageError(f"{codec!r} is no video codec; use one of {', '.join(sorted(_ALIASES))}")
    if preset not in PRESETS:
        raise UsageError(f"preset {preset!r} is unknown; use one of {', '.join(PRESETS)}")
    options, quantiser = _quality(encoder, quality, preset)
    pixel_format, format_notes = _pixel_format(av_codec, info, size)
    tags, tag_notes = _tags(av_codec.canonical_name, info)
    return Encoding(encoder, pixel_format, tags, options, quantiser, tuple(format_notes + tag_notes))


def _quality(encoder: str, quality: int | None, preset: str) -> tuple[dict[str, str], int | None]:
    if encoder in _QSCALE:
        return {}, _checked(quality if quality is not None else 3, 1, 31)
    if encoder not in _CRF:
        if quality is not None:
            raise UsageError(f"a quality cannot be set for {encoder}; leave it out or choose another codec")
        return {}, None
    default, highest = _CRF[encoder]
    options = {"crf": str(_checked(default if quality is None else quality, 0, highest))}
    speed = PRESETS.index(preset)
    if encoder in ("libx264", "libx265"):
        options["preset"] = preset
    elif encoder == "libsvtav1":
        options["preset"] = str(max(2, 11 - speed))
    else:
        options |= {"deadline": "realtime" if speed < 4 else "good", "cpu-used": str(max(0, 8 - speed)), "b": "0"}
        options |= {"row-mt": "1"} if encoder == "libvpx-vp9" else {"b": "20M"}
    if encoder == "libx265":
        options["x265-params"] = "log-level=error"
    return options, None


def _checked(quality: int, lowest: int, highest: int) -> int:
    if not lowest <= quality <= highest:
        raise UsageError(f"quality must lie between {lowest} (best) and {highest}, not {quality}")
    return quality


def _pixel_format(codec: av.Codec, info: VideoInfo, size: tuple[int, int]) -> tuple[str, list[str]]:
    """Choose 8-bit 4:2:0, which everything plays, unless the codec stays and so may the chroma, or the size is odd."""
    supported = [form.name for form in codec.video_formats or ()]
    source = planar_format(info.pixel_format)
    chroma = {(1, 1): "444", (2, 1): "422", (2, 2): "420"}.get((source.across, source.down)) if source else "444"
    wanted = "420"
    notes = []
    if codec.canonical_name == info.codec and chroma is not None:
        wanted = chroma
    if codec.canonical_name in _NEEDS_EVEN and (size[0] % 2 or size[1] % 2):
        wanted = "444"
        if "yuv444p" not in supported:
            raise UsageError(f"{codec.name} cannot hold the odd size {size[0]}x{size[1]}; write .mp4 or .mkv instead")
    if f"yuv{wanted}p" not in supported and "yuv420p" in supported:
        wanted = "420"
    chosen = f"yuv{wanted}p" if f"yuv{wanted}p" in supported else supported[0]
    if chosen == "yuv420p" and chroma in ("422", "444"):
        notes.append("colour resolution was reduced to 4:2:0")
    elif chosen == "yuv444p" and chroma != "444":
        notes.append("written with full colour resolution (4:4:4), which odd sizes need; some players cannot show it")
    if info.bits > 8:
        notes.append(f"{info.bits} bits per colour were reduced to 8")
    if "a" in info.pixel_format.removesuffix("le").removesuffix("be") and info.pixel_format.startswith("yuva"):
        notes.append("transparency was dropped")
    return chosen, notes


def _tags(codec: str, info: VideoInfo) -> tuple[ColourTags, list[str]]:
    tags = info.colour
    form = av.VideoFormat(info.pixel_format)
    if form.is_rgb or form.has_palette or tags.matrix == MATRIX_RGB:
        tags = replace(tags, range=LIMITED_RANGE, matrix=MATRIX_BT709)
        if codec != "gif":
            return tags, ["RGB video was converted to BT.709 YCbCr"]
    if codec == "mjpeg":
        return ColourTags(FULL_RANGE), []
    if codec in _CARRIES_COLOUR or codec == "gif":
        return tags, []
    # Nothing in these streams says what the numbers mean, so they are what every decoder assumes.
    plain = ColourTags(LIMITED_RANGE)
    described = tags.range == FULL_RANGE or (tags.matrix, tags.primaries, tags.transfer) != (UNSPECIFIED,) * 3
    return plain, [f"{codec} carries no colour description: it was dropped"] if described else []
