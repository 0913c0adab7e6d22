"""What judges a completion: a table of verifiers, and the sandbox that code runs in."""
