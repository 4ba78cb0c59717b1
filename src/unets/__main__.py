"""`python -m unets`: the command where it is not on the path."""

from unets.cli import main

if __name__ == "__main__":
    main()
