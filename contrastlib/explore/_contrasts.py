"""Explorables of any classifier: class maps made here, shown and asked by :mod:`contrastlib.widgets`."""

import io
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from contrastlib.attribution import Attribution, ClassMaps, FullGrad, grad_cam
from contrastlib.models import Classifier
from contrastlib.widgets import ContrastExplorer, picture

Method = Attribution | FullGrad | Callable[[Classifier, Tensor, list[int]], ClassMaps]
"""An attribution, or a function of classifier, images (1, 3, H, W) and K classes to their class maps."""

Photograph = str | Path | Image.Image | NDArray[Any] | Tensor
Progress = Callable[[float, str], None]

GRAD_CAM: Mapping[str, Method] = {"Grad-CAM": grad_cam}

CHUNK = 256
"""Classes whose maps are made at a time, between two reports of progress."""


_AT_WORK = threading.Lock()
"""Held while maps are computed in the background: two passes through one network would read each other's layers."""


class StoppedError(Exception):
    """Another photograph came before the maps of this one were ready."""


def picture_of(
    classifier: Classifier,
    photograph: Photograph,
    methods: Mapping[str, Method] = GRAD_CAM,
    *,
    title: str = "",
    label: int | None = None,
    progress: Progress = lambda _done, _what: None,
) -> dict[str, Any]:
    """The maps of all classes of a photograph, as an explorer holds them.

    Args:
        classifier: in evaluation mode.
        photograph: a path, a PIL image or an array (H, W, 3), which the classifier prepares; or what it takes, a tensor
            (3, H, W) or (1, 3, H, W) in [0, 1].
        methods: attributions by the name that is shown; ``functools.partial(grad_cam.class_maps, layer="blocks.5")``
            reads another layer.
        title: what the picture is called.
        label: the true class, if it is known.
        progress: told the share that is done, in [0, 1], and what comes next; may raise to stop.

    Returns:
        a picture for :class:`contrastlib.widgets.ContrastExplorer`.

    Raises:
        ValueError: there is no method, or what classifier and attribution refuse.
        FileNotFoundError, PIL.UnidentifiedImageError: the path is no picture.
    """
    image = prepared(classifier, photograph)
    chunks = list(torch.arange(classifier.num_classes).split(CHUNK))
    maps, logits = {}, torch.empty(0)
    for number, (name, method) in enumerate(methods.items()):
        parts = []
        for k, chunk in enumerate(chunks):
            progress((number + k / len(chunks)) / len(methods), name)
            found = _class_maps(method, classifier, image, chunk.tolist())
            parts.append(found.maps[0].float().cpu())
            logits = found.logits[0].float().cpu()
        maps[name] = torch.cat(parts).numpy()
    progress(1.0, "")
    return picture(image[0].float().cpu().numpy(), maps, logits.numpy(), title=title, label=label)


def contrasts(
    classifier: Classifier,
    photographs: Photograph | Mapping[str, Photograph] | Sequence[Photograph],
    methods: Mapping[str, Method] = GRAD_CAM,
    *,
    labels: Sequence[int] = (),
    **choices: Any,
) -> ContrastExplorer:
    """An explorer of photographs that are explained now; it goes on working in a page without a kernel.

    Args:
        classifier: in evaluation mode.
        photographs: one, several, or several by title; see :func:`picture_of`.
        methods: see :func:`picture_of`.
        labels: the true class of each, if they are known.
        choices: initial ones, such as ``target`` or ``contrast``.

    Returns:
        the explorer.

    Raises:
        ValueError: the labels are not as many as the photographs, or what :func:`picture_of` refuses.
    """
    named = by_title(photographs)
    if labels and len(labels) != len(named):
        raise ValueError(f"{len(named)} photographs need as many labels, got {len(labels)}")
    truth = iter(labels)
    pictures = [picture_of(classifier, photo, methods, title=title, label=next(truth, None)) for title, photo in named]
    return ContrastExplorer(pictures, _names(classifier), **choices)


class LiveExplorer(ContrastExplorer):
    """An explorer whose photographs a kernel explains in the background, while the notebook goes on.

    A photograph comes from Python, by :meth:`open_photograph`, or from the reader, by the button for it. A later one
    takes the place of one that is still being computed; the target becomes its most probable class. What cannot be
    explained is said in the explorer, in its attribute ``problem``, and by :meth:`wait`. Until it returns, leave the
    classifier alone: its layers are being read.
    """

    def __init__(
        self,
        classifier: Classifier,
        photograph: Photograph | None = None,
        methods: Mapping[str, Method] = GRAD_CAM,
        *,
        keep: int = 4,
        **choices: Any,
    ) -> None:
        """Show an explorer and begin to explain.

        Args:
            classifier: in evaluation mode.
            photograph: the first one; None waits for one.
            methods: see :func:`picture_of`.
            keep: how many photographs stay to be chosen from.
            choices: initial ones, such as ``contrast``.

        Raises:
            ValueError: a choice does not exist, or there is no method.
        """
        if not methods:
            raise ValueError("an explorer needs at least one method")
        super().__init__((), _names(classifier), **{"method": next(iter(methods)), **choices})
        self._classifier, self._methods, self._keep = classifier, methods, keep
        self._lock, self._turn = threading.Lock(), 0
        self._thread: threading.Thread | None = None
        self.on_photograph(self._begin)
        if photograph is not None:
            self.open_photograph(photograph)

    def open_photograph(self, photograph: Photograph, title: str = "") -> None:
        """Explain another photograph; returns at once.

        Args:
            photograph: see :func:`picture_of`.
            title: what it is called; the file's name unless given.
        """
        named = title or (Path(photograph).name if isinstance(photograph, str | Path) else "")
        self._begin(named, photograph)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the last photograph is explained.

        Args:
            timeout: seconds at most; None for as long as it takes.

        Raises:
            TimeoutError: it is not ready in time.
            ValueError: it could not be explained; says why.
        """
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                raise TimeoutError(f"the maps were not ready in {timeout:g} seconds")
        if self.problem:
            raise ValueError(self.problem)

    def _begin(self, title: str, photograph: Photograph | bytes) -> None:
        with self._lock:
            self._turn += 1
            self._thread = threading.Thread(target=self._explain, args=(photograph, title, self._turn), daemon=True)
        self.problem, self.progress, self.status = "", 0.0, "reading the photograph"
        self._thread.start()

    def _explain(self, photograph: Photograph | bytes, title: str, turn: int) -> None:
        def progress(done: float, what: str) -> None:
            if turn != self._turn:
                raise StoppedError
            self.progress, self.status = done, f"maps of all classes: {what}" if what else ""

        try:
            photo = Image.open(io.BytesIO(photograph)) if isinstance(photograph, bytes) else photograph
            with _AT_WORK:
                found = picture_of(self._classifier, photo, self._methods, title=title, progress=progress)
        except StoppedError:
            return
        except Exception as error:  # noqa: BLE001 - a thread has nobody else to tell
            self._refuse(error, title, turn)
            return
        with self._lock:
            if turn == self._turn:
                self._show(found)

    def _show(self, found: dict[str, Any]) -> None:
        with self.hold_sync():
            self.pictures = [*self.pictures, found][-self._keep:]
            self.picture = len(self.pictures) - 1
            self.foils, self.pinned = [], {}
            self.target = self.likeliest()

    def _refuse(self, error: Exception, title: str, turn: int) -> None:
        if turn != self._turn:
            return
        why = "it is no picture that can be read" if isinstance(error, UnidentifiedImageError) else str(error)
        self.status, self.progress = "", 1.0
        self.problem = f"{title or 'The photograph'} could not be explained: {why}"


def prepared(classifier: Classifier, photograph: Photograph) -> Tensor:
    """A photograph as the classifier takes it, (1, 3, H, W) in [0, 1]; a tensor is taken as it is."""
    if isinstance(photograph, Tensor):
        image = photograph if photograph.ndim == 4 else photograph[None]
        if image.ndim != 4 or len(image) != 1:
            raise ValueError(f"one photograph is (3, H, W) or (1, 3, H, W), got shape {tuple(photograph.shape)}")
        return image
    return classifier.prepare(photograph).to(classifier.mean.dtype)


def _names(classifier: Classifier) -> Sequence[str]:
    return [classifier.class_name(c) for c in range(classifier.num_classes)]


def _class_maps(method: Method, classifier: Classifier, image: Tensor, classes: list[int]) -> ClassMaps:
    make = method.class_maps if isinstance(method, Attribution | FullGrad) else method
    return make(classifier, image, classes)


def by_title(photographs: Photograph | Mapping[str, Photograph] | Sequence[Photograph],
           ) -> list[tuple[str, Photograph]]:
    if isinstance(photographs, Mapping):
        return list(photographs.items())
    if isinstance(photographs, str | Path | Image.Image):
        return [("", photographs)]
    if isinstance(photographs, Tensor | np.ndarray) and (photographs.ndim == 3 or len(photographs) == 1):
        return [("", photographs)]
    return [("", photo) for photo in photographs]
