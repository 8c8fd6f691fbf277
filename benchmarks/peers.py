"""deepprivacy-rt beside deface (https://github.com/ORB-HD/deface): whole-process speed on the same clips.

    python3 -m venv peers && peers/bin/pip install deface
    python benchmarks/peers.py CLIP... --deface peers/bin/deface [--runs 3] [--onnxruntime] [--json F]

Every program reads the same file without sound and writes H.264 (x264, preset veryfast, crf 22, no sound). A run is a
child process from its start to its end, the loading of networks included: frames per second are frames by seconds
elapsed; CPU time is user and system time of all its threads and children. The programs take turns, so that all have
the same share of whatever else the machine does; medians over the runs. ``nothing`` decodes and encodes only.

Faces left: of the faces that YuNet (which is neither program's own detector) finds in the original, those of which
``deepprivacy-rt audit`` still sees more than a fifth in the output. A fast setting that finds no faces is no
achievement. deface blurs what it finds; deepprivacy-rt draws a new face, which is most of its work.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import av
from cpu_per_frame import DECODE_ENCODE, Cost, cost

_CRF = "22"
_DEFACE_CONFIG = json.dumps({"codec": "libx264", "output_params": ["-preset", "veryfast", "-crf", _CRF]})
_SCALES = (1.0, 0.5, 0.25, 0.125)
_AUDITED_EVERY = 5


@dataclass(frozen=True, slots=True)
class Program:
    """:ivar name: for the table. :ivar command: up to, and without, input and output."""

    name: str
    command: tuple[str, ...]
    output_option: tuple[str, ...] = ("-o",)

    def line(self, source: Path, target: Path) -> list[str]:
        """Return the command line."""
        return [*self.command, str(source), *self.output_option, str(target)]


def programs(deface: Path, size: tuple[int, int], *, both: bool) -> list[Program]:
    """Return all settings to compare.

    :param size: width and height of the clip.
    :param both: also deface's other backend, ONNX Runtime, for which ``onnx onnxruntime`` must be installed beside it.
    """
    own = (sys.executable, "-m", "deepprivacy_rt", "anonymize", "--seed", "0", "--overwrite", "--no-audio")
    encoding = ("--preset", "veryfast", "--quality", _CRF)
    found = [
        Program("nothing", (sys.executable, "-c", DECODE_ENCODE), ()),
        Program("deepprivacy-rt", (*own, *encoding)),
    ]
    for scale in _SCALES:
        width, height = (round(side * scale) for side in size)
        option = () if scale == 1 else ("--scale", f"{width}x{height}")
        for backend in ("opencv", "onnxrt") if both else ("opencv",):
            name = f"deface, {'its default' if scale == 1 else ' '.join(option)}, {backend}"
            command = (str(deface), "--backend", backend, "--ffmpeg-config", _DEFACE_CONFIG, *option)
            found.append(Program(name, command))
    return found


def silent_copy(clip: Path, target: Path) -> tuple[int, tuple[int, int]]:
    """Write the clip without sound; return its number of frames, and width and height in pixels."""
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-i", str(clip), "-map", "0:v:0", "-c", "copy", str(target)], check=True
    )
    with av.open(str(target)) as copy:
        context = copy.streams.video[0].codec_context
        return sum(1 for packet in copy.demux(video=0) if packet.size), (context.width, context.height)


def faces_left(source: Path, target: Path, yunet: Path | None) -> dict[str, int]:
    """Return ``left`` and ``all`` over faces of 24 px and more, in every fifth frame."""
    with tempfile.TemporaryDirectory() as name:
        report = Path(name) / "audit.json"
        command = [sys.executable, "-m", "deepprivacy_rt", "audit", str(source), str(target)]
        command += ["--every", str(_AUDITED_EVERY), "--json", str(report)]
        command += ["--detector-model", str(yunet)] if yunet else []
        code = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
        if not report.is_file():
            sys.exit(f"error: the audit of {target} ended with code {code}")
        exposed = json.loads(report.read_text())["exposed"]
    groups = [part for size, part in exposed.items() if size != "<24" and part is not None]
    return {"left": sum(part["hits"] for part in groups), "all": sum(part["total"] for part in groups)}


def compare(clip: Path, deface: Path, runs: int, yunet: Path | None, *, both: bool) -> dict[str, object]:
    """Return the rows of one clip."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / f"clip{clip.suffix}"
        frames, size = silent_copy(clip, source)
        contenders = programs(deface, size, both=both)
        costs: dict[str, list[Cost]] = {one.name: [] for one in contenders}
        left = {}
        for number in range(runs):
            for place, one in enumerate(contenders):
                target = folder / f"{place}.mp4"
                costs[one.name].append(cost(one.line(source, target)))
                print(f"{clip.name}, run {number + 1}: {one.name}: {costs[one.name][-1]}", file=sys.stderr, flush=True)
        for place, one in enumerate(contenders[1:], 1):
            left[one.name] = faces_left(source, folder / f"{place}.mp4", yunet)
    rows = [
        {
            "program": one.name,
            "fps": round(frames / statistics.median(run.wall for run in costs[one.name]), 1),
            "cpu_ms_per_frame": round(statistics.median(run.cpu for run in costs[one.name]) / frames * 1e3, 1),
            "all_cpu_ms_per_frame": [round(run.cpu / frames * 1e3, 1) for run in costs[one.name]],
            "faces": left.get(one.name),
        }
        for one in contenders
    ]
    return {"clip": clip.name, "size": size, "frames": frames, "runs": runs, "rows": rows}


def table(result: dict[str, object]) -> str:
    """Return a Markdown table."""
    width, height = result["size"]  # type: ignore[misc]
    lines = [f"{result['clip']}, {width}x{height}, {result['frames']} frames, median of {result['runs']}", ""]
    lines += ["| | fps | CPU ms per frame | faces left |", "|---|---|---|---|"]
    for row in result["rows"]:  # type: ignore[attr-defined]
        faces = f"{row['faces']['left']} of {row['faces']['all']}" if row["faces"] else ""
        lines.append(f"| {row['program']} | {row['fps']} | {row['cpu_ms_per_frame']} | {faces} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--deface", type=Path, required=True, help="its program, in an environment of its own")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--onnxruntime", action="store_true", help="deface's other backend too")
    parser.add_argument("--yunet", type=Path, help="yunet_n_dynamic.onnx; default: fetched")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = []
    for clip in options.clips:
        results.append(compare(clip, options.deface, options.runs, options.yunet, both=options.onnxruntime))
        print(table(results[-1]), end="\n\n", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
