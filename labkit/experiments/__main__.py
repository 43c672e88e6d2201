"""`python -m labkit.experiments list` and `python -m labkit.experiments NAME [--tiny | --times]`."""

import argparse
import sys

from labkit.experiments import EXPERIMENTS, retime, run


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m labkit.experiments", description="Run a recorded experiment.")
    parser.add_argument("name", choices=["list", *EXPERIMENTS], help="the experiment, or list")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--tiny", action="store_true", help="seconds instead of minutes; the result is kept apart")
    how.add_argument(
        "--times", action="store_true", help="only measure the record's time ratios again; on a quiet core"
    )
    chosen = parser.parse_args(arguments)
    if chosen.name == "list":
        for experiment in EXPERIMENTS.values():
            print(f"{experiment.name:16} about {experiment.minutes:g} minutes  {experiment.summary}")
        return 0
    made = retime(chosen.name) if chosen.times else run(chosen.name, tiny=chosen.tiny)
    print(made)
    for key, value in made.summary.items():
        print(f"{key}: {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
