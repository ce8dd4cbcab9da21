"""`python -m blendbench` is the `blendbench` command."""

from blendbench.cli.process import command

command()
