"""The Keras models, one file per family, each with one `build`."""
