"""The choice of a level: by the processor, by the environment, and without a compiled module at all."""

import os
import subprocess
import sys
import threading
import warnings

import pytest
from toolchain import COMPILER

from labkit import kernels
from labkit.kernels import dispatch

COMPILED = dispatch.levels()[1:]


@pytest.fixture
def fresh(monkeypatch):
    """A process that has not yet chosen a level."""
    monkeypatch.delenv(dispatch.ENV, raising=False)
    dispatch._default.cache_clear()
    yield monkeypatch
    dispatch._default.cache_clear()


@pytest.fixture
def without_compiled(fresh):
    fresh.setattr(dispatch, "lib", None)
    fresh.setattr(dispatch, "MISSING", "No module named _native")
    return fresh


def python(code, **environment):
    """Run code in a new process, warnings on."""
    settings = {**os.environ, "PYTHONWARNINGS": "default", **environment}
    return subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=False)


@pytest.mark.skipif(COMPILER is None, reason="this machine has no C compiler")
def test_where_a_compiler_exists_the_kernels_are_compiled(fresh):
    assert kernels.backend().startswith("cffi:"), f"run `pip install -e .`: {dispatch.MISSING}"
    assert "portable" in COMPILED


def test_the_fastest_level_is_the_default(fresh):
    assert kernels.backend().removeprefix("cffi:") == kernels.levels()[-1]


@pytest.mark.parametrize("name", dispatch.levels())
def test_the_environment_forces_a_level(fresh, name):
    fresh.setenv(dispatch.ENV, name)
    assert kernels.backend() == (name if name == "numpy" else f"cffi:{name}")


@pytest.mark.parametrize("name", dispatch.levels())
def test_a_level_is_forced_inside_a_block(name):
    before = kernels.backend()
    with dispatch.forced(name):
        assert kernels.backend().removeprefix("cffi:") == name
    assert kernels.backend() == before


def test_a_forced_level_stays_in_its_thread():
    seen = []
    with dispatch.forced("numpy"):
        thread = threading.Thread(target=lambda: seen.append(dispatch.current()))
        thread.start()
        thread.join()
    assert seen == [dispatch.current()]


def test_an_unknown_level_is_refused(fresh):
    fresh.setenv(dispatch.ENV, "avx3")
    with pytest.raises(ValueError, match=r"LABKIT_KERNELS is 'avx3', which is not a level .*allowed: 'numpy'"):
        kernels.backend()
    with pytest.raises(ValueError, match="LABKIT_KERNELS is 'avx3'"):
        kernels.pack_bits([[1.0]])
    with pytest.raises(ValueError, match="level is 'avx3'"), dispatch.forced("avx3"):
        pass


@pytest.mark.skipif(not COMPILED, reason="there are no compiled kernels")
def test_a_level_the_processor_lacks_is_refused(fresh):
    class Older:
        """The compiled library on a processor that has the first level alone."""

        def __getattr__(self, name):
            return getattr(native, name)

        def labkit_level_supported(self, index):
            return index == 0

    native, last = dispatch.lib, dispatch._compiled()[-1]
    fresh.setattr(dispatch, "lib", Older())
    assert kernels.levels() == ["numpy", "portable"]
    assert kernels.backend() == "cffi:portable"
    dispatch._default.cache_clear()
    fresh.setenv(dispatch.ENV, last)
    with pytest.raises(ValueError, match=f"'{last}', which this processor does not support; allowed: .*'portable'"):
        kernels.backend()


def test_without_compiled_kernels_the_twin_serves_with_one_note(without_compiled):
    with pytest.warns(RuntimeWarning, match="No module named _native.*pip install -e .*LABKIT_KERNELS=numpy"):
        assert kernels.backend() == "numpy"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kernels.levels() == ["numpy"]
        assert kernels.xnor_matmul(kernels.pack_bits([[1.0, -1.0]]), kernels.pack_bits([[1.0, 1.0]]), n=2) == [[0]]


def test_the_twin_by_choice_needs_no_note(without_compiled):
    without_compiled.setenv(dispatch.ENV, "numpy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kernels.backend() == "numpy"


def test_a_compiled_level_without_compiled_kernels_is_refused(without_compiled):
    without_compiled.setenv(dispatch.ENV, "portable")
    with pytest.raises(ValueError, match=r"allowed: 'numpy' .no compiled kernels: No module named _native"):
        kernels.backend()


def test_a_process_whose_compiled_module_is_hidden():
    code = """
import sys
sys.modules["labkit.kernels._native"] = None
from labkit import kernels
print(kernels.backend(), kernels.xnor_matmul(kernels.pack_bits([[1, -1, -1]]), kernels.pack_bits([[1, 1, -1]]), n=3))
"""
    result = python(code, LABKIT_KERNELS="")
    assert result.stdout.split() == ["numpy", "[[1]]"]
    assert result.stderr.count("compiled kernels are missing") == 1


def test_a_process_with_the_variable_set():
    code = "from labkit import kernels; print(kernels.backend(), kernels.pack_bits([[1, -1]]))"
    name = dispatch.levels()[1 if COMPILED else 0]
    expected = kernels.levels()[0] if not COMPILED else f"cffi:{name}"
    assert python(code, LABKIT_KERNELS=name).stdout.split() == [expected, "[[2]]"]
