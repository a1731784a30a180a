"""Second derivatives of the squared error, by kernels of their own."""
