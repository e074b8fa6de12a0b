"""Training: the trainer and its parts, a run with its files, and what `resume` needs to go on."""
