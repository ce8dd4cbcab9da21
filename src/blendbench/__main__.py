"""`python -m blendbench` is the `blendbench` command."""

from blendbench.cli import main

main()
