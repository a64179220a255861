"""The pictures of a run: folders, split, likeness, decoding, treatments, packed pixels and their cache."""
