"""What several experiments draw and write with: Markdown with its tables and pictures, labels of figures."""
