"""What is suggested: spaces, samplers, one Optuna study per family, warm start, aims."""
