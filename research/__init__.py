"""Experiments on the method; they import the package, which imports none of them. Not in the wheel."""
