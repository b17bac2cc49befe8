"""Reading a data set's images ahead of those who compute on them."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from contrastlib.data.dataset import ImageDataset, Problem, Sample, UnreadableImageError

_AHEAD = 2  # parts that are read or being read while one is computed


def batches(
    dataset: ImageDataset, parts: Sequence[Sequence[int]], workers: int = 0,
) -> Iterator[list[Sample | Problem]]:
    """The images of one part after another; with workers, the next parts are read in the meantime.

    Args:
        dataset: prepared for a network.
        parts: positions in the data set, a batch each.
        workers: threads that read; below 1 for none.

    Yields:
        for each part its images; in the place of one that cannot be decoded, what is wrong with it.
    """
    if workers < 1:
        for part in parts:
            yield [_sample(dataset, i) for i in part]
        return
    with ThreadPoolExecutor(workers) as pool:  # Pillow decodes and resizes without holding the interpreter
        coming = deque([pool.submit(_sample, dataset, i) for i in part] for part in parts[:_AHEAD])
        for k in range(len(parts)):
            if k + _AHEAD < len(parts):
                coming.append([pool.submit(_sample, dataset, i) for i in parts[k + _AHEAD]])
            yield [future.result() for future in coming.popleft()]


def _sample(dataset: ImageDataset, i: int) -> Sample | Problem:
    try:
        return dataset[i]
    except UnreadableImageError as error:
        return error.problem
