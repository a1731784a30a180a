"""``python -m partinr``."""

from partinr.cli import main

if __name__ == "__main__":
    main()
