"""What is computed: numbers, costs, and the sentences that they come to."""
