"""Runs the command `vigie` as `python -m app`."""

from app.processes.cli import main

if __name__ == "__main__":
    main()
