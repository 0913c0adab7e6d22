"""What the study found: numbers, tables, words, figures, and its page."""
