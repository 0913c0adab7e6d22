"""Rows of reasoning-gym tasks: `wmtp data reasoning-gym`."""
