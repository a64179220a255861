"""What is drawn: figures for pages, still drawings, pictures for report.md."""
