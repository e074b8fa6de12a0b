"""`python -m ncatool`."""

from ncatool.cli import main

main()
