"""Where values and credit come from: a file for each kind of critic, how it is trained, saved and read."""
