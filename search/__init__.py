"""Runs a search: the only room that knows Ray and Optuna's study."""
