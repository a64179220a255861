"""What is written: the report, its markdown, model cards, comparisons, the live and the data page."""
