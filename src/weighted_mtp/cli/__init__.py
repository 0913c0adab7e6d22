"""The `wmtp` command line."""
