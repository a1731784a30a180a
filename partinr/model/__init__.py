"""The model: a stack of networks, the batch that it sees, and what is made of both."""
