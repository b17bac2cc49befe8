"""How fast the birds are drawn, on one core: the drawing uses no threads."""

from contrastlib.data import birds

COUNT = 200


def test_drawing_birds(benchmark):
    data = birds.DrawnBirds("train", COUNT)
    benchmark.extra_info["what"] = f"drawing {COUNT} birds of the split train, one core"
    benchmark.pedantic(lambda: [data.drawing(i) for i in range(COUNT)], rounds=7, warmup_rounds=1)
