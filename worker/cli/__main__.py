"""`python -m worker.cli` is `adl`."""

from worker.cli import main

main()
