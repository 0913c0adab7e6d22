"""What several experiments draw and write with: tables, markdown, labels at the ends of lines."""
