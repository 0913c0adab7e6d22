"""Token weights in other people's trainers, and in the files that they read."""
