"""Prompts to rows: what a model, in a directory or behind a server, writes for them, with a verdict on each."""
