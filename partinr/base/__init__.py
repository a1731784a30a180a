"""The floor of the package: errors, specs, files, locks and notes. Imports nothing else of partinr."""
