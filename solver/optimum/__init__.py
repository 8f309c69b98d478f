"""The general method: expected loss over all accounts is lowered as far as the demands allow."""
