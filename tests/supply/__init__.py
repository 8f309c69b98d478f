"""What comes from others: which versions are locked, what is known against them, and what a release is made of."""
