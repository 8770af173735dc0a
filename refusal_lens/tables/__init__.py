"""Tables of text: a result record in, a `Table` out, for the page, the screen and CSV alike."""
