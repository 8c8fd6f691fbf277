"""Writing sizes and checksums of shipped weights into their manifest, after they were made anew.

python -m deepprivacy_rt.weights.seal weights/
"""

from __future__ import annotations

import argparse
import hashlib
import re
from pathlib import Path

_START = "[[model]]"


def seal(folder: Path) -> list[str]:
    """Bring ``manifest.toml`` up to date with the files beside it; return the names of those that changed.

    Models that are not in the folder are left as they are, and so is everything else in the file.
    """
    manifest = folder / "manifest.toml"
    head, *blocks = manifest.read_text(encoding="utf-8").split(_START)
    changed, sealed = [], []
    for block in blocks:
        name = re.search(r'^file = "(.+)"$', block, re.MULTILINE)
        path = folder / name[1] if name else None
        now = block
        if path is not None and path.is_file():
            data = path.read_bytes()
            now = re.sub(r"^size = \d+$", f"size = {len(data)}", block, flags=re.MULTILINE)
            now = re.sub(r'^sha256 = ".*"$', f'sha256 = "{hashlib.sha256(data).hexdigest()}"', now, flags=re.MULTILINE)
            if now != block:
                changed.append(path.name)
        sealed.append(now)
    manifest.write_text(_START.join([head, *sealed]), encoding="utf-8")
    return changed


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m deepprivacy_rt.weights.seal", description=__doc__)
    parser.add_argument("folder", type=Path)
    for name in seal(parser.parse_args().folder):
        print(name)


if __name__ == "__main__":
    main()
