"""Composes, checks, executes and resumes runs, and finds plug-ins."""
