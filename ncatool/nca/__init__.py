"""The rule, dense and written to be read, with what it needs: filters, seed, damage, losses, the model and its file."""
