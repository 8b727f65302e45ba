"""Runs `python -m tools.clusters`."""

import typer

from tools.clusters.cluster_command import main

if __name__ == "__main__":
    typer.run(main)
