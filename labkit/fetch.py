"""`python -m labkit data`: download the data that does not come with the packages."""

import argparse
import sys
from collections.abc import Sequence

from labkit import datasets, paths


def main(arguments: Sequence[str]) -> int:
    """Download MNIST with a progress bar; return 1, after one sentence, where that is not possible."""
    parser = argparse.ArgumentParser(prog="python -m labkit data", description="Download MNIST into the cache (11 MB).")
    parser.parse_args(arguments)
    try:
        sizes = {split: len(datasets.mnist(split, source="download")) for split in datasets.SPLITS}
    except (OSError, ValueError) as error:
        print(f"MNIST is not complete: {error}\n\nEverything in the book runs without it.", file=sys.stderr)
        return 1
    listed = ", ".join(f"{count:,} {split}" for split, count in sizes.items())
    print(f"MNIST is in {paths.CACHE / 'mnist'} and its checksums are right: {listed} digits.")
    return 0
