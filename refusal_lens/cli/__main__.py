"""`python -m refusal_lens.cli`: the command line without its script."""

from refusal_lens.cli.main import main

main()
