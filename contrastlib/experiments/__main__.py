"""The command line of the experiments: ``python -m contrastlib.experiments run gradient-sign --profile embedded``."""

from contrastlib.__main__ import main

if __name__ == "__main__":
    raise SystemExit(main(door="experiments"))
