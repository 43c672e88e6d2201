"""The source that pages show is the source that runs."""

import pytest

from labkit.explore import source


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
