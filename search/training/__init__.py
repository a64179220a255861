"""One trial and what it takes: worker, devices, activations, checkpoints, retraining."""
