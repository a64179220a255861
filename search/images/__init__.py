"""Pictures: folders of them, their pixels, their duplicates, their split and their treatment."""
