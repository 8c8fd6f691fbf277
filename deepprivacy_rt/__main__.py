"""``python -m deepprivacy_rt``: the same as the command ``deepprivacy-rt``."""

from deepprivacy_rt.cli.main import program

if __name__ == "__main__":
    program()
