"""Short scripts of stages, evaluation and reports: the demo and what looks at runs."""
