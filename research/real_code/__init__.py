"""The experiment on real code with known bugs: critics, and students that learn from their credit."""
