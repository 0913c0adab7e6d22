"""Rows are made in parts: here, in processes of this machine, or on a Ray cluster, and are the same everywhere."""
