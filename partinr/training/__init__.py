"""Training: steps, schedules, checkpoints and the trainer."""
