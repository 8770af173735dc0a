"""What follows in the folder of a finished study, a file per command."""
