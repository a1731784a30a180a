"""Run directories: their layout, their files, and the records of many runs."""
