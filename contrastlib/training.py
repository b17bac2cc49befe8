"""The command line of fine-tuning: ``python -m contrastlib.training --dataset cub200 --model vgg16_bn``."""

from contrastlib.__main__ import main

if __name__ == "__main__":
    raise SystemExit(main(door="training"))
