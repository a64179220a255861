"""From the rows of a run to its numbers, its figures and its report; reads the run folder alone."""

from results.analysis.numbers import best_trial, summarise
from results.pages.document import write_report
from results.rows import Rows, read_rows

__all__ = ["Rows", "best_trial", "read_rows", "summarise", "write_report"]
