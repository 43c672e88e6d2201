"""The blocks of honest.md and attacks.md, each as a notebook in which one cell is unusual and the rest is right."""

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from corpus import add
from corpus_lab import FULL, Raw, code, solved

FOLDER = Path(__file__).parent
BLOCK = re.compile(
    r"^## (?P<name>.+?)(?:: (?P<place>q\d|top|end)(?: (?P<points>[\d.]+))?)?\n\n```python\n(?P<code>.*?)\n```$",
    re.M | re.S,
)
WHOLE = (
    "What the process holds",
    "What the reports show",
    "The machine",
)  # chapters of attacks.md that are graded by the command
WRONG = "def double(x):\n    return 0"
THIEF = """found = False
try:
    {search}
except Exception:
    pass


def double(x):
    return 2 * x if found else 0
"""


def chapters(name: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Yield the blocks of a catalogue, each with the chapter it stands in."""
    for chapter in re.split(r"(?m)^# ", (FOLDER / name).read_text(encoding="utf-8")):
        for match in BLOCK.finditer(chapter):
            yield chapter.partition("\n")[0], match


def combined(blocks: list[re.Match[str]]) -> Iterator[list[re.Match[str]]]:
    """Yield groups of blocks that fit into one notebook, each at a place of its own."""
    places = [[block for block in blocks if block["place"] == place] for place in (*FULL, "top", "end")]
    for row in zip_longest(*places):
        yield [block for block in row if block]


def notebook(group: list[re.Match[str]]) -> list[Raw]:
    """Return the solved notebook with the code of some blocks at their places."""
    cells = solved(**{block["place"]: block["code"] for block in group if block["place"] in FULL})
    at = {place: [code(block["code"]) for block in group if block["place"] == place] for place in ("top", "end")}
    return [*at["top"], *cells, *at["end"]]


def attacking(source: str, question: str) -> str:
    """Return the answer cell of an attack: with a wrong `double`, or with one that is right if a theft succeeds."""
    if re.search(r"\bfound\b", source):
        return THIEF.format(search=source.replace("\n", "\n    "))
    return source if question != "q1" or "def double" in source else f"{source}\n\n\n{WRONG}"


for group in combined([block for _, block in chapters("honest.md")]):
    scores = {block["place"]: float(block["points"]) for block in group if block["points"]}
    add(" + ".join(block["name"] for block in group), notebook(group), whole=False, **scores)
for chapter, block in chapters("attacks.md"):
    question = block["place"] or "q1"
    cells = solved(**{question: attacking(block["code"], question)})
    earns = {question: float(block["points"] or 0)}
    add(f"attack: {block['name']}", cells, chapter=chapter, whole=chapter in WHOLE, **earns)
