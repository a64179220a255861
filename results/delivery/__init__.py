"""What is handed out: predictions, and models in other formats."""
