"""The experiments are measured last: their process then keeps the memory it frees, and the others' rows should not."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.stem == "bench_experiments")
