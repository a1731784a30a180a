"""From a configuration to a run: compose, check, execute, resume, and the plug-ins that add choices."""
