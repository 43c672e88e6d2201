"""C from a string: compiled, kept, loaded, and refused with a reason."""

import gc
import os

import numpy as np
import pytest

from labkit import paths
from labkit.kernels import compiled
from labkit.kernels.compiled import CompileError, NoCompilerError, accepts, compile_c, find_compiler
from labkit.kernels.dispatch import pointer

SUM = """
#include <stdint.h>
int64_t sum(const int32_t *x, int n) { int64_t s = 0; for (int i = 0; i < n; i++) s += x[i]; return s; }
"""
DECLARED = "int64_t sum(const int32_t *x, int n);"
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler on this machine")


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    return tmp_path / "compiled"


@needs_compiler
def test_arrays_reach_c(cache_folder):
    x = np.arange(1000, dtype=np.int32)
    assert compile_c(SUM, DECLARED).sum(pointer(x, "int32_t[]"), len(x)) == x.sum()


@needs_compiler
def test_the_compiler_works_once_for_each_source_and_flags(cache_folder, monkeypatch):
    calls = []
    run = compiled._run
    monkeypatch.setattr(compiled, "_run", lambda command, text: calls.append(command) or run(command, text))
    for flags in (("-O3",), ("-O3",), ("-O1",)):
        compile_c(SUM, DECLARED, flags=flags)
    assert sum("-shared" in command for command in calls) == 2
    assert len(list(cache_folder.iterdir())) == 2


@needs_compiler
def test_a_damaged_library_is_made_anew(cache_folder):
    x = np.arange(10, dtype=np.int32)
    source = SUM + "/* damaged */"
    kept = compiled._library(source, ("-O3",))
    kept.write_bytes(kept.read_bytes()[:100])
    assert compile_c(source, DECLARED).sum(pointer(x, "int32_t[]"), len(x)) == 45
    assert len(kept.read_bytes()) > 100


@needs_compiler
@pytest.mark.parametrize("closed", ["a file", "a folder that cannot be written"])
def test_a_cache_that_cannot_be_written_is_done_without(closed, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    if closed == "a file":
        (tmp_path / "cache").write_text("in the way")
    else:  # root may write everywhere, so the answer of the system is replaced
        access = compiled.os.access
        monkeypatch.setattr(compiled.os, "access", lambda path, mode: not mode & os.W_OK and access(path, mode))
    source = SUM + f"/* {closed} */"  # nothing has compiled it before
    x = np.arange(10, dtype=np.int32)
    assert compile_c(source, DECLARED).sum(pointer(x, "int32_t[]"), len(x)) == 45
    assert not list(tmp_path.rglob("*.so"))


@needs_compiler
def test_refused_source_tells_what_the_compiler_said_and_leaves_nothing(cache_folder):
    with pytest.raises(CompileError, match=r"refused the source:\n(.|\n)*error"):
        compile_c("int f(int x) { return x +; }", "int f(int x);")
    assert list(cache_folder.iterdir()) == []


@needs_compiler
def test_a_function_outlives_its_library(cache_folder):
    function = compile_c(SUM, DECLARED).sum
    gc.collect()
    x = np.ones(3, np.int32)
    assert function(pointer(x, "int32_t[]"), 3) == 3


@needs_compiler
def test_flags_are_tried():
    assert accepts(["-O2"])
    assert not accepts(["-a-flag-that-is-none"])


def test_without_a_compiler(cache_folder, monkeypatch):
    monkeypatch.setattr(compiled, "find_compiler", lambda: None)
    assert not accepts(["-O2"])
    with pytest.raises(NoCompilerError, match="install gcc or clang"):
        compile_c(SUM, DECLARED)


def test_a_compiler_that_does_not_start(cache_folder, monkeypatch, tmp_path):
    (tmp_path / "cc").write_text("not a program")
    monkeypatch.setattr(compiled, "find_compiler", lambda: [str(tmp_path / "cc")])
    with pytest.raises(NoCompilerError, match="cannot be started"):
        compile_c(SUM, DECLARED)


def test_cc_comes_first(monkeypatch):
    monkeypatch.setenv("CC", "sh -x")
    assert find_compiler() == ["sh", "-x"]
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    assert find_compiler() is None


@needs_compiler
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("", DECLARED), ValueError, "source must not be empty"),
        ((SUM, " "), ValueError, "cdef must not be empty"),
        ((3, DECLARED), TypeError, "source must be str, got int"),
        ((SUM, "int64_t sum("), ValueError, "cdef must hold C declarations"),
        ((SUM, "int other(int x);"), ValueError, "cdef declares other, which source does not define"),
    ],
)
def test_bad_arguments(arguments, error, message, cache_folder):
    with pytest.raises(error, match=message):
        compile_c(*arguments)


@pytest.mark.parametrize("flags", ["-O3", [3]])
def test_flags_must_be_a_list_of_strings(flags):
    with pytest.raises(TypeError, match="flags must be a list of strings"):
        compile_c(SUM, DECLARED, flags=flags)
    with pytest.raises(TypeError, match="flags must be a list of strings"):
        accepts(flags)
