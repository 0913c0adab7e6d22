"""From raw completions, reference solutions and procedural tasks to rows whose labels a program has verified."""
