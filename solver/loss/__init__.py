"""Loss models: what an account is expected to lose beyond its equity, and how that changes."""
