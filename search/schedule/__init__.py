"""What is done when: rungs, budgets, the course of trials, retrainings."""

from collections.abc import Callable

Say = Callable[[str], None]  # takes a line for the log of the run
