"""`python -m inkling ...` and `torchrun -m inkling ...` are the command `inkling`."""

from inkling.cli import run

if __name__ == "__main__":
    run()
