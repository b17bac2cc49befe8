"""The contrast explorer: every class, every contrast, any method that is linear in the gradient."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from contrastlib import contrast, plotting
from contrastlib.attribution import Attribution, ClassMaps, FullGrad, grad_cam
from contrastlib.contrast import Contrast
from contrastlib.explorables import base
from contrastlib.models import Classifier
from contrastlib.names import UnknownNameError, find

CONTRASTS = ("original", "max", "weighted", "mean", "tempered", "foil")
QUESTION = ("picture", "target", "contrast", "position", "foils", "method")

LEADING = 32  # classes that are kept in sixteen bits: the likeliest, whose maps contrasts subtract from each other
CHUNK = 256  # classes whose maps are made at a time, between two reports of progress

# An attribution, or a function of classifier, images (1, 3, H, W) and K classes to their class maps.
Method = Attribution | FullGrad | Callable[[Classifier, Tensor, list[int]], ClassMaps]
GRAD_CAM: Mapping[str, Method] = {"Grad-CAM": grad_cam}

# Held while maps are computed in the background: two passes through one network would read each other's layers.
_AT_WORK = threading.Lock()


def contrasts(classifier: Classifier, photographs: base.Photographs, methods: Mapping[str, Method] = GRAD_CAM, *,
              labels: Sequence[int] = (), **choices: Any) -> "ContrastExplorer":
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
    pictures = [picture_of(classifier, photo, methods, title=title, label=label)
                for title, photo, label in base.by_title(photographs, labels)]
    return ContrastExplorer(pictures, _names(classifier), **choices)


def picture_of(classifier: Classifier, photograph: base.Photograph, methods: Mapping[str, Method] = GRAD_CAM, *,
               title: str = "", label: int | None = None,
               progress: Callable[[float, str], None] = lambda _done, _what: None) -> dict[str, Any]:
    """The maps of all classes of a photograph, as an explorer holds them.

    Args:
        classifier: in evaluation mode.
        photograph: a path, the content of a file, a PIL image or an array (H, W, 3), which the classifier prepares; or
            what it takes, a tensor (3, H, W) or (1, 3, H, W) in [0, 1].
        methods: attributions by the name that is shown; ``functools.partial(grad_cam.class_maps, layer="blocks.5")``
            reads another layer.
        title: what the picture is called.
        label: the true class, if it is known.
        progress: told the share that is done, in [0, 1], and what comes next; may raise to stop.

    Returns:
        a picture for :class:`ContrastExplorer`.

    Raises:
        ValueError: there is no method, the file is no picture, or what classifier and attribution refuse.
        FileNotFoundError: there is no such file.
    """
    image = base.prepared(classifier, photograph)
    chunks = list(torch.arange(classifier.num_classes).split(CHUNK))
    maps, logits = {}, torch.empty(0)
    for number, (name, method) in enumerate(methods.items()):
        make = method.class_maps if isinstance(method, Attribution | FullGrad) else method
        parts = []
        for k, chunk in enumerate(chunks):
            progress((number + k / len(chunks)) / len(methods), name)
            found = make(classifier, image, chunk.tolist())
            parts.append(found.maps[0].float().cpu())
            logits = found.logits[0].float().cpu()
        maps[name] = torch.cat(parts)
    progress(1.0, "")
    return picture(image[0], maps, logits, title=title, label=label)


def picture(photo: Image.Image | ArrayLike, maps: Mapping[str, ArrayLike], logits: ArrayLike, *, title: str = "",
            label: int | None = None) -> dict[str, Any]:
    """One picture of an explorer.

    Args:
        photo: what the network saw: a PIL image, or (3, H, W) or (H, W, 3), floats in [0, 1] or uint8.
        maps: by the name of a method the relevance maps of all classes, (C, h, w), such as
            ``class_maps(...).maps[0]``.
        logits: (C,).
        title: what it is called where there are several.
        label: the true class, if it is known.

    Returns:
        what the browser gets, about 100 kB in a page for 1000 classes at 7 x 7 places and one method.

    Raises:
        ValueError: there is no method, shapes do not fit, a value is not finite, or the label is no class.
    """
    base.needed(method=maps)
    scores = base.numbers("logits", logits, "C")
    if label is not None:
        base.choose("the label", label, range(len(scores)))
    leading = _ranked(scores)[:LEADING].tolist()
    methods = [{"name": name, **base.encode(base.numbers("maps", values, len(scores), "h", "w"), leading)}
               for name, values in maps.items()]
    return {"photo": base.photograph(photo), "logits": scores.tobytes(), "methods": methods, "title": title,
            "label": -1 if label is None else int(label)}


class ClassIndex(traitlets.TraitType[Any, Any]):
    """The index of a class; a name is taken for the class that it means."""

    def validate(self, obj: Any, value: Any) -> Any:
        """The index."""
        return _index(self.name, value, obj.names)


class Foils(traitlets.List[Any]):
    """Indices of different classes, which may be named too."""

    def validate(self, obj: Any, value: Any) -> list[int]:
        """The indices."""
        foils = [_index(self.name, one, obj.names) for one in super().validate(obj, value) or ()]
        if len(set(foils)) < len(foils):
            raise base.ChoiceError(f"{self.name} must be different classes, one is named twice: {foils}")
        return foils


def _methods(explorer: "ContrastExplorer") -> list[str]:
    """Names of the methods; all pictures have the same."""
    return [method["name"] for one in explorer.pictures[:1] for method in one["methods"]]


class ContrastExplorer(base.Gallery):
    r"""Choose a class, what it is held against, and see which pixels answer.

    Holds the maps of all classes of each picture in eight bits and the logits. The browser forms
    :math:`\phi^t - \sum_{s \ne t} \alpha_s\, \phi^s` by itself, so that it needs no kernel. In a notebook every choice
    below can be read, set and linked to other widgets.

    Attributes:
        picture: index of the picture.
        target: index of the class that is explained; set by its name or its index.
        contrast: ``original``, ``max``, ``weighted``, ``mean``, ``tempered`` (the dial) or ``foil``.
        position: the dial, 0 (T = 0, max) to 100 (T infinite, mean); 50 is T = 1, weighted.
        foils: classes it is held against when the contrast is ``foil``, set like the target; each once; none means the
            strongest rival.
        method: name of the attribution method.
        pinned: a question that is kept beside (picture, target, contrast, position, foils, method), with the picture
            that it was asked of; what is left out of it is as it is asked now; empty for none.
        strength: opacity of the map over the photograph, in [0, 1].
        colours: ``RdBu``, or ``bwr`` as in the papers.
        scale: ``map`` for the map's own largest value as the strongest colour, ``shared`` for that of all classes.
        sign: ``both``, ``for`` or ``against``.
        progress: of what is being computed, in [0, 1]; 1 when all is there.
        status: what is being done, in words.
        problem: why the last photograph could not be explained; empty if it could.
    """

    _esm = base.script("contrast_explorer.js")

    names = traitlets.List(traitlets.Unicode(), help="C class names").tag(sync=True)
    target = ClassIndex(0).tag(sync=True)
    contrast = traitlets.Enum(CONTRASTS, "weighted").tag(sync=True)
    position = traitlets.Int(50, min=0, max=100).tag(sync=True)
    foils = Foils().tag(sync=True)
    method = base.Choice(_methods, "").tag(sync=True)
    pinned = traitlets.Dict().tag(sync=True)
    strength = traitlets.Float(0.6, min=0, max=1).tag(sync=True)
    colours = traitlets.Enum(("RdBu", "bwr"), "RdBu").tag(sync=True)
    scale = traitlets.Enum(("map", "shared"), "map").tag(sync=True)
    sign = traitlets.Enum(("both", "for", "against"), "both").tag(sync=True)
    live = traitlets.Bool(help="whether a kernel explains photographs that are handed in").tag(sync=True)
    progress = traitlets.Float(1.0, min=0, max=1).tag(sync=True)
    status = traitlets.Unicode().tag(sync=True)
    problem = traitlets.Unicode().tag(sync=True)

    def __init__(self, pictures: Sequence[dict[str, Any]] = (), names: Sequence[str] = (), **choices: Any) -> None:
        """Make an explorer.

        Args:
            pictures: of :func:`picture`, all with the same classes.
            names: C class names.
            choices: initial values of the attributes; the target is the most probable class unless given.

        Raises:
            ValueError: a picture has another number of classes than there are names, or a choice does not exist.
        """
        for one in pictures:
            if len(one["logits"]) != 4 * len(names):
                raise ValueError(f"{len(one['logits']) // 4} logits and {len(names)} names; the explorer needs one "
                                 "name for each class")
        super().__init__(names=list(names), pictures=list(pictures), **choices)

    _first_target = traitlets.default("target")(lambda self: self.likeliest() if self.pictures else 0)
    _first_method = traitlets.default("method")(lambda self: next(iter(_methods(self)), ""))

    @traitlets.validate("pinned")
    def _whole(self, proposal: Any) -> dict[str, Any]:
        """A question has every part; none at all stays none."""
        question = {key: getattr(self, key) for key in QUESTION} | proposal["value"] if proposal["value"] else {}
        return {key: self.traits()[base.choose("a part of pinned", key, QUESTION)].validate(self, value)
                for key, value in question.items()}

    def likeliest(self) -> int:
        """The most probable class of the picture."""
        return int(_ranked(self._logits()[0].numpy())[0])

    def weights(self) -> NDArray[np.float64]:
        """What is subtracted: the weight of each class, (C,), 0 for the target; all 0 for ``original``."""
        row = -contrast.weights(self._score(self.contrast), self._logits(), torch.tensor([self.target]))[0]
        row[self.target] = 0
        return row.numpy()

    def relevance(self) -> NDArray[np.float32]:
        """The map that is shown, (h, w), signed, in logits, without the choice of sign and colours."""
        return self._map(self.contrast)

    def still(self) -> Figure | None:
        """The photograph with the original map and the contrasts from max to mean; with chosen foils, theirs too."""
        if not self.pictures:
            return None
        shown = ["original", *(["foil"] if self.contrast == "foil" else []), "max", "weighted", "mean"]
        foils = "rather than " + " or ".join(self.names[c] for c in self._rivals())
        titles = [f"{self.names[self.target]}\n{foils if name == 'foil' else name}" for name in shown]
        return plotting.compare(self._photo(), [self._map(name) for name in shown], titles)

    def on_photograph(self, explain: Callable[[str, bytes], None]) -> None:
        """Have photographs that a reader hands in explained by this kernel.

        Args:
            explain: gets the file's name and its content.
        """
        def heard(_widget: object, content: Any, buffers: Sequence[Any]) -> None:
            if isinstance(content, dict) and content.get("kind") == "photograph" and buffers:
                explain(str(content.get("name", "")), bytes(buffers[0]))

        self.on_msg(heard)
        self.live = True

    def _score(self, name: str) -> Contrast:
        """The library's contrast; the dial is logarithmic between its ends."""
        dial = {0: 0.0, 100: float("inf")}.get(self.position, 10 ** ((self.position - 50) / 50))
        return contrast.by_name(name, foils=self._rivals(), temperature=dial)

    def _rivals(self) -> list[int]:
        """The chosen foils, or the strongest rival where none is chosen."""
        others = [int(c) for c in _ranked(self._logits()[0].numpy())[:2] if c != self.target]
        return [c for c in self.foils if c != self.target] or others[:1]

    def _map(self, name: str) -> NDArray[np.float32]:
        methods = self._shown()["methods"]
        maps = torch.from_numpy(base.decode(next((m for m in methods if m["name"] == self.method), methods[0])))
        found = ClassMaps(maps[None].double(), torch.arange(len(maps))[None], self._logits())
        return found.combine(self._score(name), self.target)[0, 0].float().numpy()

    def _logits(self) -> Tensor:
        return torch.from_numpy(np.frombuffer(self._shown()["logits"], "<f4").astype(float))[None]


class LiveExplorer(ContrastExplorer):
    """An explorer whose photographs a kernel explains in the background, while the notebook goes on.

    A photograph comes from Python, by :meth:`open_photograph`, or from the reader, by the button for it. A later one
    takes the place of one that is still being computed; the target becomes its most probable class. What cannot be
    explained is said in the explorer, in its attribute ``problem``, and by :meth:`wait`. Until it returns, leave the
    classifier alone: its layers are being read.
    """

    def __init__(self, classifier: Classifier, photograph: base.Photograph | None = None,
                 methods: Mapping[str, Method] = GRAD_CAM, *, keep: int = 4, **choices: Any) -> None:
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
        base.needed(method=methods)
        super().__init__((), _names(classifier), **{"method": next(iter(methods)), **choices})
        self._classifier, self._methods, self._keep = classifier, methods, keep
        self._lock, self._turn = threading.Lock(), 0
        self._thread: threading.Thread | None = None
        self.on_photograph(self._begin)
        if photograph is not None:
            self.open_photograph(photograph)

    def open_photograph(self, photograph: base.Photograph, title: str = "") -> None:
        """Explain another photograph; returns at once.

        Args:
            photograph: see :func:`picture_of`.
            title: what it is called; the file's name unless given.
        """
        self._begin(title or (Path(photograph).name if isinstance(photograph, str | Path) else ""), photograph)

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

    def _begin(self, title: str, photograph: base.Photograph) -> None:
        with self._lock:
            self._turn += 1
            self._thread = threading.Thread(target=self._explain, args=(photograph, title, self._turn), daemon=True)
        self.problem, self.progress, self.status = "", 0.0, "reading the photograph"
        self._thread.start()

    def _explain(self, photograph: base.Photograph, title: str, turn: int) -> None:
        """In a thread of its own; a later turn makes it end, and what it found or what went wrong is dropped."""
        def progress(done: float, what: str) -> None:
            if turn != self._turn:
                raise _StoppedError
            self.progress, self.status = done, f"maps of all classes: {what}" if what else ""

        try:
            with _AT_WORK:
                found = picture_of(self._classifier, photograph, self._methods, title=title, progress=progress)
            with self._lock, self.hold_sync():
                if turn == self._turn:
                    self.pictures = [*self.pictures, found][-self._keep:]
                    self.picture = len(self.pictures) - 1
                    self.foils, self.pinned = [], {}
                    self.target = self.likeliest()
        except Exception as error:  # noqa: BLE001 - a thread has nobody else to tell
            if turn == self._turn:
                self.status, self.progress = "", 1.0
                self.problem = f"{title or 'The photograph'} could not be explained: {error}"


class _StoppedError(Exception):
    """Another photograph came before the maps of this one were ready."""


def _index(name: str | None, value: Any, names: Sequence[str]) -> Any:
    """The index of a class that is given by its name or its index; any index where there are no classes yet."""
    try:
        value = find(value, names, "class") if isinstance(value, str) else value
    except (UnknownNameError, ValueError) as error:
        raise base.ChoiceError(str(error)) from error
    return base.choose(name, value, range(len(names))) if names else value


def _names(classifier: Classifier) -> list[str]:
    return [classifier.class_name(c) for c in range(classifier.num_classes)]


def _ranked(logits: NDArray[Any]) -> NDArray[np.int64]:
    """Classes (C,) from the most probable down; of equal ones the lower index first."""
    return np.argsort(-logits, kind="stable")
