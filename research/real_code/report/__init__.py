"""What the experiment on real code found: numbers, tables, words and figures."""
