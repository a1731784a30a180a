"""Draw fitted signals as pictures, and write them to files."""
