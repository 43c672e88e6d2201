"""What an answer of the student's process says, as far as it is well formed; everything else is left out."""

from typing import Any

TEXT = 500


def error_type(reply: dict[str, Any]) -> str:
    """Return the name of the class of the error in an answer."""
    error = reply.get("error")
    return text(error.get("type")) if type(error) is dict else ""


def error_text(reply: dict[str, Any]) -> str:
    """Return the error in an answer as one printable text."""
    error = reply.get("error")
    if type(error) is not dict:
        return ""
    line = error.get("line")
    place = f" (line {line})" if type(line) is int and 0 < line < 10**6 else ""
    return f"{text(error.get('type')) or 'Error'}: {text(error.get('message'))}{place}"


def text(value: Any, most: int = TEXT) -> str:
    """Return a text that can be printed, cut at its limit; an empty one for anything else."""
    return clean(value[:most]) if type(value) is str else ""


def clean(value: str) -> str:
    """Return a text that can be encoded and printed: surrogates and control characters are spelt out."""
    plain = value.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in plain)


def number(value: Any) -> float:
    """Return a number of reasonable size, or 0."""
    return float(value) if type(value) in (int, float) and abs(value) < 1e9 else 0.0


def words(value: Any) -> tuple[str, ...]:
    """Return the texts in a list."""
    return tuple(word for word in value[:2000] if type(word) is str) if type(value) is list else ()
