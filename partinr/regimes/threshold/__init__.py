"""Steps to a fixed error."""
