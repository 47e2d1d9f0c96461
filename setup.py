"""What pyproject.toml cannot say: a wheel carries configs, tools and model index, which lie beside the package here."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithTools(build_py):
    """Copies them to ghm_mmdet/.mim, the place where mmdet's wheel has its own."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        carried = Path(self.build_lib) / "ghm_mmdet" / ".mim"
        shutil.rmtree(carried, ignore_errors=True)
        for folder in ("configs", "tools"):
            shutil.copytree(folder, carried / folder, ignore=shutil.ignore_patterns("__pycache__", "setup_env.sh"))
        shutil.copy("model-index.yml", carried)


setup(cmdclass={"build_py": BuildWithTools})
