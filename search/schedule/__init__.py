"""What is done when: rungs, budgets, the course of trials, retrainings."""
