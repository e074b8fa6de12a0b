"""`python -m ncatool`."""

from ncatool.cli.main import main

main()
