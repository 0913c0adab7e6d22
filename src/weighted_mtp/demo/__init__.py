"""`wmtp demo`: the made task's arms, trained and compared on one page."""
