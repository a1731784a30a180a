"""The model: a stack of networks, the batch that it evaluates, and rendering, files and rates."""
