"""What `wmtp inspect` shows of runs, in the terminal and on a page."""
