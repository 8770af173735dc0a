"""The command line: `refusal-lens --help`; one file for each group of commands."""
