"""The C kernels. All other settings are in pyproject.toml, which cannot say "build this if you can"."""

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class OptionalBuildExt(build_ext):
    """Build the kernels where a C compiler works; elsewhere install without them, since NumPy can serve."""

    def build_extension(self, ext: Extension) -> None:
        ext.optional = True  # setuptools then also skips the copy of a file that was not built
        try:
            super().build_extension(ext)
        except Exception as error:  # whatever a broken compiler does, it must not stop the installation
            self._remove_old(ext)
            print(f"labkit: the C kernels were not built, NumPy will serve instead: {error}", file=sys.stderr)

    def _remove_old(self, ext: Extension) -> None:
        """An editable install may hold kernels of an older source: wrong ones would be worse than none."""
        for path in Path(*ext.name.split(".")[:-1]).glob(f"{ext.name.split('.')[-1]}.*"):
            if path.suffix in {".so", ".pyd"}:
                path.unlink()


setup(cffi_modules=["labkit/kernels/_build.py:ffibuilder"], cmdclass={"build_ext": OptionalBuildExt})
