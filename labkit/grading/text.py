"""Text that students wrote, made safe to print: what cannot be seen is spelled out, what is too long is cut."""

import hashlib
import re
import unicodedata

JOINERS = "\u200c\u200d"  # several scripts and emoji need them, and they turn nothing around


def visible(text: str, *, keep: str = "", limit: int | None = None) -> str:
    """Return text in which control characters, lone surrogates and direction marks stand as escapes.

    `keep` names control characters that may stay, such as a line feed; `limit` is the longest result in characters.

    >>> print(visible("a\\tb\\x1b[31m"), visible("abcdefgh", limit=4))
    a\\tb\\x1b[31m abc…
    """
    shown = "".join(c if _harmless(c) or c in keep else c.encode("unicode_escape").decode() for c in text)
    return shown if limit is None or len(shown) <= limit else shown[: limit - 1] + "…"


def slug(text: str, *, limit: int = 40) -> str:
    """Return a file name stem of plain letters and digits; the digest keeps two different texts apart.

    >>> slug("Zoë / ../x")
    'Zoe-x-69b7d185'
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    stem = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:limit].strip("-")
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return "-".join(filter(None, [stem, digest]))


def _harmless(character: str) -> bool:
    return character.isprintable() or character in JOINERS or unicodedata.category(character) == "Zs"
