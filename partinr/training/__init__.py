"""One training loop: steps, clock, evaluation, sampling, freezing, shards and checkpoints."""
