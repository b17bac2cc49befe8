"""A network together with what one must know to use it: its input, its classes, its layer for maps."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from contrastlib import pictures
from contrastlib.models.layers import LayerReport, Layout, Probe, Size, as_written, is_exported, resolve
from contrastlib.names import as_index, find

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_MOVES = ("Alias", "Clone", "Permute", "Reshape", "Slice", "Squeeze", "ToCopy", "Unsafe", "Unsqueeze", "View")
_STRIP = 16  # times as long as wide, beyond which a picture is cut before it is resized

Picture = str | Path | Image.Image | np.ndarray | Tensor
"""A file, a PIL image, an array (H, W) or (H, W, 3), or a tensor (3, H, W)."""


class NotFiniteError(ValueError):
    """A network gives an image logits that are no prediction; `image` says which of the batch."""

    def __init__(self, name: str, image: int) -> None:
        super().__init__(f"{name} gives a logit that is not finite for image {image}")
        self.image = image


@dataclass(frozen=True)
class Weights:
    """Where the weights of a network came from.

    Attributes:
        source: in words: a file, an address, a package, or how they were initialised.
        digest: SHA-256 of the file in hexadecimal; None if there was no file.
        licence: the terms, as far as they are known.
    """

    source: str
    digest: str | None = None
    licence: str | None = None


class Preprocessing(TypedDict, total=False):
    """How images are prepared; keywords of :class:`Classifier`."""

    input_size: int | tuple[int, int]
    mean: float | Sequence[float]
    std: float | Sequence[float]
    resize: int | tuple[int, int] | None
    interpolation: str
    crop: bool


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes the input of a network: resize, then centre crop.

    Attributes:
        input_size: (H, W) in pixels after the crop.
        resize: length of the short side before the crop; or (H, W), which does not keep the aspect; or None for
            8/7 of the input's short side with a crop, the usual ImageNet recipe, and for `input_size` without one.
        crop: whether the centre is cut out.
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or another of torchvision's modes.
    """

    input_size: Size
    resize: int | tuple[int, int] | None
    crop: bool
    interpolation: str

    def __post_init__(self) -> None:
        known = [mode.value for mode in InterpolationMode]
        if self.interpolation not in known:
            raise ValueError(f"interpolation must be one of {', '.join(known)}, got {self.interpolation!r}")

    def apply(self, picture: Picture) -> Tensor:
        """One picture, resized and cropped: (1, 3, H, W) float32 in [0, 1]; errors as :meth:`Classifier.prepare`."""
        image = self._middle(_pil_or_tensor(picture))
        image = F.resize(image, self._size(), interpolation=InterpolationMode(self.interpolation), antialias=True)
        if self.crop:
            image = F.center_crop(image, list(self.input_size))
        tensor = image if isinstance(image, Tensor) else F.to_tensor(image).float()
        return tensor[None].clamp(0, 1)  # bicubic resizing of floats overshoots

    def _size(self) -> list[int]:
        if self.resize is None:
            return [round(min(self.input_size) * 8 / 7)] if self.crop else list(self.input_size)
        return [self.resize] if isinstance(self.resize, int) else list(self.resize)

    def _middle(self, image: Any) -> Any:
        """Of a strip, what may remain of it after the crop: resized as a whole it could fill the memory."""
        sides = F.get_dimensions(image)[1:]
        if 0 in sides:
            raise ValueError(f"a picture must not be empty, got {sides[0]} x {sides[1]} pixels")
        most = _STRIP * min(sides) * max(self.input_size) // min(self.input_size)
        if len(self._size()) > 1 or max(sides) <= most:
            return image
        if not self.crop:
            raise ValueError(f"a picture of {sides[0]} x {sides[1]} pixels is more than {most // min(sides)} times as "
                             "long as it is wide: cut it, or prepare with a crop or with resize=(H, W)")
        return F.center_crop(image, [min(side, most + (side - most) % 2) for side in sides])  # as much from both ends


class Classifier(nn.Module):
    r"""An image classifier: images in [0, 1] in, logits out.

    .. math:: y = f\left(\frac{x - \mu}{\sigma}\right), \qquad x \in [0, 1]^{N \times 3 \times H \times W}

    Wraps any network that maps normalised images (N, 3, H, W) to logits (N, C), or to an object with ``.logits``.
    The network itself is not changed, nor switched to evaluation mode: that is the caller's to do.

    A network with one logit y says yes or no to one class, and its class names are that one name, such as ``["bird"]``.
    Here it has two classes with the logits (y, 0), of which softmax gives sigmoid(y) for yes: 0 is ``bird``, and 1 is
    ``not bird``. The labels of a data set must then be 0 where the answer is yes.

    Args:
        model: the network.
        class_names: one name per logit, or a mapping from index to name; the same name may stand there twice. For one
            logit the name of what it says yes to.
        input_size: H and W of the input in pixels, one number for both.
        mean: per channel, subtracted from images in [0, 1]; one number or three. The default is ImageNet's.
        std: per channel, divides afterwards; positive.
        resize: length of the short side before the crop, or (H, W), which does not keep the aspect. None: 8/7 of the
            input's short side if there is a crop, else the input size itself.
        interpolation: ``nearest``, ``bilinear`` or ``bicubic``.
        crop: whether the centre is cut out after resizing.
        layer: the layer to explain at by default; None finds it with one forward pass, when it is first wanted.
        weights: where the weights came from.
        name: what to call the network in messages and figures.

    Attributes:
        model: the network.
        class_names: tuple of C names, or None.
        input_size: (H, W).
        mean: buffer (1, 3, 1, 1).
        std: buffer (1, 3, 1, 1).
        weights: where the weights came from.
        name: what the network is called.

    Raises:
        ValueError: a size is not positive, std is not, the interpolation is unknown, or the network was made inside
            ``torch.inference_mode()``.
        TypeError: the model is no module.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        *,
        class_names: Sequence[str] | Mapping[int, str] | None = None,
        input_size: int | tuple[int, int] = 224,
        mean: float | Sequence[float] = IMAGENET_MEAN,
        std: float | Sequence[float] = IMAGENET_STD,
        resize: int | tuple[int, int] | None = None,
        interpolation: str = "bilinear",
        crop: bool = True,
        layer: str | nn.Module | None = None,
        weights: Weights | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"a classifier wraps a torch.nn.Module, got {type(model).__name__}")
        if any(tensor.is_inference() for tensor in (*model.parameters(), *model.buffers())):
            raise ValueError(f"this {type(model).__name__} was made inside torch.inference_mode(), and nothing of it "
                             "can be differentiated: make it outside")
        self.model = model
        self.training = model.training
        names = None if class_names is None else as_names(class_names)
        self._named = None if names is None else len(names)
        self.class_names = (names[0], f"not {names[0]}") if names and self._named == 1 else names
        self.input_size = _pair(input_size)
        self.recipe = Preparation(self.input_size, resize, crop, interpolation)
        self._given = {"mean": _per_channel(mean, "mean"), "std": _per_channel(std, "std")}
        first = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
        for buffer, values in self._given.items():
            self.register_buffer(buffer, values.to(first, copy=True), persistent=False)
        if (self.std <= 0).any():
            raise ValueError(f"std must be positive, got {std}")
        self.weights = weights or Weights("the user's own model")
        self.name = name or type(model).__name__
        self._layer_name = None if layer is None else resolve(model, layer)[0]
        self._probes: dict[Size, Probe] = {}
        self._gives_logits = False  # whether outputs that look like probabilities have been found to be none

    def forward(self, images: Tensor) -> Tensor:
        """The logits of a batch.

        Args:
            images: (N, 3, H, W), floating point, in [0, 1].

        Returns:
            logits (N, C), before softmax; minus infinity for a class that cannot occur.

        Raises:
            NotFiniteError: the network gives an image no logits that say anything: NaN, plus infinity, or all of them
                minus infinity.
            ValueError: wrong shape, values outside [0, 1], NaN; a module in training mode; the network's output is
                not (N, C), or C differs from the number of class names.
            TypeError: the images are not a floating-point tensor.
        """
        _check_images(images)
        self._check_mode()
        logits = self._logits(images)
        if logits.shape[1] == 1:
            logits = torch.cat([logits, torch.zeros_like(logits)], 1)
        bad = (~logits.detach().amax(-1).isfinite()).nonzero()  # the largest is NaN where one of them is
        if len(bad):
            raise NotFiniteError(self.name, int(bad[0]))
        return logits

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As every module; compiled, the network runs as it was written while anything listens to its layers."""
        listened = not torch.compiler.is_compiling() and _is_listened_to(self)
        with as_written(self) if listened else nullcontext():
            return super().__call__(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        """What is saved or copied: all but what a pass through the network has told, which holds on to its layers."""
        return {**super().__getstate__(), "_probes": {}}

    def _apply(self, fn: Any, recurse: bool = True) -> "Classifier":
        """As every module; in another precision, mean and std are the given ones again, with all digits it has."""
        before = self.mean.dtype
        super()._apply(fn, recurse)
        if self.mean.dtype != before:
            self.mean.copy_(self._given["mean"])
            self.std.copy_(self._given["std"])
        return self

    @property
    def layer_name(self) -> str:
        """The default layer for maps, the one given or else the one that :meth:`layers` recommends, remembered.

        Raises:
            ValueError: no layer can be recommended; name one with ``layer=``.
        """
        if self._layer_name is None:
            recommended = self.layers().recommended
            if not recommended:
                raise ValueError(
                    f"no layer of {self.name} runs once and gives a map that the logits depend on; name one with "
                    "layer=...: print(classifier.layers().table(parts=True)) says what each gives")
            self._layer_name = recommended
        return self._layer_name

    def layers(self, images: Tensor | None = None) -> LayerReport:
        """The layer doctor: what every layer gives, how it is read as a map, and which one to explain at.

        Runs the network forward and backward once. For each layer the report says its shape and how that is read
        (channels first or last, or tokens on a grid behind some prefix tokens), at what share of the places the
        gradient is zero, which signs its values have, and which module overwrites them in place.

        Recommended is, for a network of convolutions, the last module to finish, of those that run once, whose output
        has the resolution of the last convolution's: behind the last activation, before the pooling. Where a block and
        its last part finish with the same output, the block is taken (``layer4``, not ``layer4.1``). For a network that
        works on tokens it is the last layer, no part of another, whose gradient reaches every place of the map.

        Args:
            images: (N, 3, H, W) in [0, 1]; None for one of random pixels at the input size.

        Returns:
            the report; print it.

        Raises:
            ValueError, TypeError: the images are not as :meth:`forward` wants them.
        """
        if images is None:
            noise = torch.rand(1, 3, *self.input_size, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
            images = noise.to(self.mean)
        _check_images(images)
        with torch.inference_mode(False):
            return self._probed((images.shape[-2], images.shape[-1])).report(images.clone())

    def read_as(self, shape: Sequence[int], size: Size, layer: str = "") -> Layout:
        """How an output of a given shape is read as a map: channels first, channels last, or tokens on a grid.

        The grid of tokens is one that the network itself had as a map before, such as its patch embedding's, or one
        that it has merged from such; found with a forward pass at that size and remembered. That the tokens lie in
        reading order is checked.

        Args:
            shape: of the output, with the batch.
            size: (H, W) of the images.
            layer: the name of the layer that gives it, if it is one.

        Returns:
            the layout.

        Raises:
            ValueError: the output is no map; says what was found.
        """
        return self._probed(size).layout(tuple(shape), layer)

    def batch_first(self, layer: str, size: Size) -> bool:
        """Whether a layer's output has the images along its first axis; with as many tokens its shape does not tell.

        Args:
            layer: dotted name.
            size: (H, W) of the images.
        """
        return self._probed(size).batch_first(layer)

    @property
    def num_classes(self) -> int:
        """The number of logits C, from the class names or else found with one forward pass and remembered."""
        return len(self.class_names) if self.class_names is not None else self._probed(self.input_size).num_classes

    def layer(self, layer: str | nn.Module | None = None) -> nn.Module:
        """A layer of the network.

        Args:
            layer: dotted name as in ``model.named_modules()``, a module of the network, or None for the default.

        Returns:
            the module.

        Raises:
            UnknownNameError: no layer has the name; says which come near.
            ValueError: the module is not part of the network, or the network has no default layer.
        """
        return resolve(self.model, self.layer_name if layer is None else layer)[1]

    def prepare(self, image: Picture | list[Picture] | tuple[Picture, ...]) -> Tensor:
        """Pictures as this network's weights want them: resized, cropped, in [0, 1].

        Args:
            image: a file name, a PIL image, an array (H, W) or (H, W, 3), a tensor (3, H, W), or a list of such
                things; uint8, or floats in [0, 1].

        Returns:
            (1, 3, H, W) float32 in [0, 1], on the classifier's device; (N, 3, H, W) for a list of N.

        Raises:
            ValueError: no image file, wrong shape, values outside [0, 1].
            FileNotFoundError: there is no such file.
            TypeError: no picture at all.
        """
        batch = image if isinstance(image, list | tuple) else [image]
        if not batch:
            raise ValueError("prepare() got an empty list of pictures")
        return torch.cat([self.recipe.apply(picture) for picture in batch]).to(self.mean.device)

    def index(self, name_or_index: str | int) -> int:
        """The index of a class, from its name (matched loosely) or from the index itself.

        Args:
            name_or_index: such as ``"tiger cat"``, ``"Tiger_Cat"``, ``282`` or ``"282"``.

        Returns:
            the index in [0, C).

        Raises:
            UnknownNameError: no class has that name; says which come near.
            ValueError: several classes fit (lists them with their indices), the index is out of range, or the classes
                have no names.
            TypeError: neither a name nor a whole number.
        """
        if isinstance(name_or_index, str) and name_or_index not in (self.class_names or ()):
            text = name_or_index.strip()
            if text.removeprefix("-").isdecimal():
                return self._in_range(int(text))
        if isinstance(name_or_index, str):
            if self.class_names is None:
                raise ValueError(f"the classes of {self.name} have no names: pass class_names=, or an index")
            return find(name_or_index, self.class_names, "class")
        index = as_index(name_or_index)
        if index is None:
            raise TypeError(f"a class is a name or an index, got {name_or_index!r}")
        return self._in_range(index)

    def class_name(self, index: int) -> str:
        """The name of a class.

        Args:
            index: in [0, C).

        Returns:
            its name, or ``class 7`` where the classes have none.

        Raises:
            ValueError: the index is out of range.
        """
        index = self.index(index)
        return f"class {index}" if self.class_names is None else self.class_names[index]

    @torch.no_grad()
    def top(self, images: Tensor, k: int = 5) -> list[list[tuple[int, str, float]]]:
        """The most probable classes of each image.

        Args:
            images: (N, 3, H, W) in [0, 1].
            k: how many, at most C.

        Returns:
            for each image k triples (index, name, probability in [0, 1]), the most probable first.

        Raises:
            ValueError: k is not in [1, C], or the images are not as :meth:`forward` wants them.
        """
        probabilities = self(images).softmax(-1)
        if not 1 <= k <= probabilities.shape[-1]:
            raise ValueError(f"k must lie in [1, {probabilities.shape[-1]}], got {k}")
        best = probabilities.topk(k)
        return [[(i, self.class_name(i), p) for i, p in zip(row_i, row_p)]
                for row_i, row_p in zip(best.indices.tolist(), best.values.tolist())]

    def extra_repr(self) -> str:
        """What ``repr`` says beyond the network itself."""
        return f"name={self.name!r}, input_size={self.input_size}, weights={self.weights.source!r}"

    def _logits(self, images: Tensor) -> Tensor:
        mean, std = self.mean.to(images.device), self.std.to(images.device)
        inputs = ((images - mean) / std).to(mean.dtype)
        logits = self._check_logits(self.model(inputs), len(images))
        if not self._gives_logits and not torch.compiler.is_compiling():
            self._refuse_probabilities(logits, inputs)
        return logits

    def _probed(self, size: Size) -> Probe:
        if size not in self._probes:
            black = torch.zeros(1, 3, *size, dtype=self.mean.dtype, device=self.mean.device)
            self._probes[size] = Probe(self.model, self._logits, black)
        return self._probes[size]

    def _in_range(self, index: int) -> int:
        if not 0 <= index < self.num_classes:
            raise ValueError(f"a class index of {self.name} must lie in [0, {self.num_classes}), got {index}")
        return index

    def _check_mode(self) -> None:
        for name, module in () if is_exported(self.model) else self.model.named_modules():
            if module.training:
                what = f"its module '{name}'" if name else "the network"
                raise ValueError(f"{what} ({type(module).__name__}) is in training mode, where dropout and batch "
                                 "statistics change the logits; call .eval() first")

    def _check_logits(self, output: object, n: int) -> Tensor:
        logits = getattr(output, "logits", output)
        if not isinstance(logits, Tensor):
            raise ValueError(f"{self.name} must return logits (N, C) or an object with .logits, "
                             f"it returned a {type(output).__name__}")
        if logits.ndim != 2 or len(logits) != n:
            raise ValueError(f"{self.name} must return logits (N, C) with N = {n}, "
                             f"it returned shape {tuple(logits.shape)}")
        if logits.shape[1] == 1 != self._named:
            raise ValueError(f"{self.name} returned one logit, for yes against no; {self._named or 'no'} class names "
                             "are given: name the one class that it says yes to with class_names=, such as ['bird']")
        if self._named not in (None, logits.shape[1]):
            raise ValueError(f"{self.name} returned {logits.shape[1]} logits for {self._named} class names")
        return logits

    def _refuse_probabilities(self, logits: Tensor, inputs: Tensor) -> None:
        """A network that ends in softmax or sigmoid gives no logits; what it does last is seen in the graph."""
        low, high = (value.item() for value in torch.aminmax(logits.detach()))
        if 0 <= low <= high <= 1:
            if logits.grad_fn is None and not _is_listened_to(self):
                with torch.inference_mode(False), torch.enable_grad(), as_written(self):
                    again = self.model(inputs[:1].clone().requires_grad_())
                logits = getattr(again, "logits", again)
            node = logits.grad_fn
            while node is not None and node.name().startswith(_MOVES):
                node = node.next_functions[0][0]
            if node is None:
                return
            last = node.name().removesuffix("Backward0").lower()
            if last in ("softmax", "sigmoid"):
                raise ValueError(f"{self.name} ends in {last}: it returned probabilities, not logits (N, C); "
                                 f"wrap the network as it is before its {last}")
        self._gives_logits = True


def as_names(names: Sequence[str] | Mapping[int, str]) -> tuple[str, ...]:
    """Class names in the order of the logits, from a sequence or from a mapping of indices to names.

    Raises:
        ValueError: the keys of a mapping are not the indices from 0 to C - 1.
        TypeError: one string, a set, which has no order, or no names at all.
    """
    if isinstance(names, Mapping):
        by_index = {int(index): name for index, name in names.items() if str(index).isdecimal()}
        if sorted(by_index) != list(range(len(names))):
            raise ValueError("class_names that are a mapping must go from the indices 0 to C - 1 to the names, got "
                             f"keys such as {next(iter(names), None)!r}")
        return tuple(str(by_index[i]) for i in range(len(names)))
    if isinstance(names, str | bytes | set | frozenset) or not isinstance(names, Iterable):
        raise TypeError(f"class_names must be one name per logit, got {names!r}")
    return tuple(map(str, names))


def _is_listened_to(module: nn.Module) -> bool:
    return any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a tensor (N, 3, H, W), got {type(images).__name__}; see prepare()")
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be (N, 3, H, W), got shape {tuple(images.shape)}")
    if not images.is_floating_point():
        raise TypeError(f"images must be floating point in [0, 1], got {images.dtype}; see prepare()")
    _check_range(images, "images")


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    h, w = (size, size) if isinstance(size, int) else size
    if h < 1 or w < 1:
        raise ValueError(f"input_size must be positive, got {size}")
    return int(h), int(w)


@torch.inference_mode(False)
def _per_channel(values: float | Sequence[float], what: str) -> Tensor:
    tensor = torch.as_tensor(values, dtype=torch.float64).reshape(-1)
    if tensor.numel() not in (1, 3):
        raise ValueError(f"{what} must be one number or one for each of the three channels, got {tensor.numel()}")
    return tensor.expand(3).reshape(1, 3, 1, 1)


def _pil_or_tensor(picture: Picture) -> Image.Image | Tensor:
    """A picture as 8-bit RGB, or as a float tensor where it comes in floats and would lose digits."""
    if isinstance(picture, str | Path):
        return pictures.read(picture)
    if isinstance(picture, Image.Image):
        return pictures.rgb(picture)
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    if isinstance(picture, Tensor):
        return _from_tensor(picture.detach())
    raise TypeError("a picture must be a file name, a PIL image, an array (H, W, 3) or a tensor (3, H, W), "
                    f"got {type(picture).__name__}")


def _from_array(given: np.ndarray) -> Image.Image | Tensor:
    array = np.array(given, given.dtype.newbyteorder("="))  # a copy, that may be written on, and no matrix
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise ValueError(f"an array must be (H, W) or (H, W, 3), got shape {array.shape}")
    channels = array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)
    if array.dtype.kind not in "uif" or array.itemsize > 8:
        raise ValueError(f"a picture holds uint8 in [0, 255] or floats in [0, 1], got {array.dtype}")
    return _from_tensor(torch.from_numpy(channels).permute(2, 0, 1))


def _from_tensor(tensor: Tensor) -> Image.Image | Tensor:
    if tensor.ndim != 3 or tensor.shape[0] != 3:
        raise ValueError(f"a tensor must be (3, H, W), got shape {tuple(tensor.shape)}; pass a list for a batch")
    if tensor.dtype == torch.uint8:
        return F.to_pil_image(tensor.cpu())
    if not tensor.is_floating_point():
        raise ValueError(f"a picture holds uint8 in [0, 255] or floats in [0, 1], got {tensor.dtype}")
    _check_range(tensor, "the picture")
    return tensor.float()


def _check_range(values: Tensor, what: str) -> None:
    """Hold that values are numbers in [0, 1], in one pass over them."""
    if not values.numel():
        raise ValueError(f"{what} must not be empty, got shape {tuple(values.shape)}")
    low, high = (v.item() for v in torch.aminmax(values.detach()))
    if low != low or high != high:
        raise ValueError(f"{what} must hold numbers in [0, 1], and has NaN among them")
    if low < 0 or high > 1:
        raise ValueError(f"{what} must hold numbers in [0, 1], they run from {low:.4g} to {high:.4g}; "
                         "the classifier itself subtracts the mean and divides by the standard deviation")
