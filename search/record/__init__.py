"""What a run writes down while it lasts: rows, metrics, the live page."""
