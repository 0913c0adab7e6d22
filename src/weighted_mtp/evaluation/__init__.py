"""Decoding, accuracy and intervals: what a comparison of runs may claim."""
