"""The kit that pages and terminal tables are made of: layout, token view, figures, numbers. Knows no model."""
