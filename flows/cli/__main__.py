"""`python -m flows.cli` is `nightshift`."""

from flows.cli.main import main

main()
