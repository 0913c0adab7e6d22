"""One file per kind of weighting scheme."""
