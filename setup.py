"""Puts ``weights/`` into the wheel, as ``deepprivacy_rt/shipped_weights/``; all else is in ``pyproject.toml``.

The folder lies at the top of the project, where people look for it; a clone and an editable install use it there.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("*.toml", "*.safetensors", "*.xml", "*.bin", "*.md")


class BuildWithWeights(build_py):
    """Copies the package, then the weights."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "deepprivacy_rt" / "shipped_weights"
        self.mkpath(str(target))
        for pattern in SHIPPED:
            for path in sorted(Path("weights").glob(pattern)):
                self.copy_file(str(path), str(target / path.name))


setup(cmdclass={"build_py": BuildWithWeights})
