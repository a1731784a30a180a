"""Many runs from one command: the queue, the launchers, and the jobs of a cluster."""
