"""Trackers of other people's: MLflow, Weights & Biases and TensorBoard are told of a run from its rows."""
