"""The commands of labkit: `python -m labkit COMMAND`; each is imported only when it is used."""

import argparse
import importlib
import sys
from collections.abc import Sequence

# name -> (the function that takes the other words of the command line and returns the exit code, one line of help)
COMMANDS = {
    "doctor": ("labkit.doctor:main", "say what works on this machine, and what to do about the rest"),
    "data": ("labkit.fetch:main", "download the full MNIST set into the cache (11 MB)"),
    "assign": ("labkit.__main__:assign", "make a lab's release notebook from the instructor's"),
    "check": ("labkit.__main__:check", "run the visible checks of a lab notebook"),
    "grade": ("labkit.__main__:grade", "grade a class of submissions"),
    "similar": ("labkit.__main__:similar", "list pairs of submissions whose code is alike"),
    "demo-class": ("labkit.__main__:demo_class", "make up a class of submissions for trying the grader"),
}


def usage() -> str:
    """Return the list of commands."""
    lines = [f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(["usage: python -m labkit COMMAND [OPTIONS]", "", *lines])


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: 2 for a command that does not exist."""
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name not in COMMANDS:
        print(f"{usage()}\n\nThere is no command {name!r}.", file=sys.stderr)
        return 2
    module, function = COMMANDS[name][0].split(":")
    return getattr(importlib.import_module(module), function)(rest)


def assign(arguments: Sequence[str]) -> int:
    """Run `assign` of the grader."""
    return grader(["assign", *arguments])


def check(arguments: Sequence[str]) -> int:
    """Run `check` of the grader."""
    return grader(["check", *arguments])


def grade(arguments: Sequence[str]) -> int:
    """Run `grade` of the grader."""
    return grader(["grade", *arguments])


def similar(arguments: Sequence[str]) -> int:
    """Run `similar` of the grader."""
    return grader(["similar", *arguments])


def demo_class(arguments: Sequence[str]) -> int:
    """Run `demo-class` of the grader."""
    return grader(["demo-class", *arguments])


def grader(words: Sequence[str]) -> int:
    """Run a command of the grader, which brings its own options and help."""
    from labkit.grading import cli

    parser = argparse.ArgumentParser(prog="python -m labkit")
    cli.add_parsers(parser.add_subparsers(required=True))
    arguments = parser.parse_args(words)
    return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
