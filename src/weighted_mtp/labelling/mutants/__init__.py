"""Test-verified mutants of Python solutions: `wmtp data mutants`."""
