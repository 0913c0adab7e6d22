"""The page and the table that the demo leaves."""
