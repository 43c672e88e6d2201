"""The source that pages show is the source that runs."""

import pytest

from labkit.explore import c_source, source


def plain(x: int) -> int:
    """Give x back."""
    return x


class Documented:
    """A class."""

    def method(self) -> int:
        """Give one."""
        return 1


def test_docstrings_are_left_out_and_the_rest_is_verbatim() -> None:
    assert source(plain).text == "def plain(x: int) -> int:\n    return x"
    assert '"""' not in source(Documented).text
    assert "return 1" in source(Documented).text


def test_docstring_on_demand() -> None:
    assert '"""Give x back."""' in source(plain, docstring=True).text


def test_several_functions_stand_two_lines_apart() -> None:
    shown = source(plain, Documented)
    assert shown.name == "plain, Documented"
    assert "return x\n\n\nclass Documented" in shown.text


def test_markdown_is_a_python_block() -> None:
    assert source(plain)._repr_markdown_().startswith("```python\ndef plain")
    assert repr(source(plain)) == "Source(plain)"


@pytest.mark.parametrize("bad", [3, len, "text"])
def test_what_has_no_source_is_refused(bad: object) -> None:
    with pytest.raises(TypeError, match="functions must be Python functions or classes"):
        source(bad)


C = """#include <stdint.h>

static int one(int x)
{
    if (x) {
        return 1;
    }
    return one(0);
}

int two(int x, int y)
{
    return one(x) + y;
}
"""


def test_c_functions_are_cut_out_whole() -> None:
    shown = c_source(C, "two")
    assert shown.text == "int two(int x, int y)\n{\n    return one(x) + y;\n}"
    assert shown._repr_markdown_().startswith("```c\nint two")
    assert c_source(C, "one").text.count("\n") == 6
    assert c_source(C).text == C.strip()
    with pytest.raises(ValueError, match="must be defined in the text, got 'three'"):
        c_source(C, "three")
    with pytest.raises(TypeError, match="text must be str"):
        c_source(3)  # type: ignore[arg-type]
