"""Rounds of sampling, verifying, credit, training and evaluation, each step the command of its own."""
