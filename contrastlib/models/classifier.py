"""A network together with what one must know to use it: its input, its classes, its layer for maps."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor, nn

from contrastlib.models.doctor import LayerReport, examine
from contrastlib.models.images import Picture, Recipe, check_range
from contrastlib.models.layers import default_layer, resolve
from contrastlib.models.layouts import Layout, Size, read
from contrastlib.models.order import check_order
from contrastlib.models.probing import Probe, probe
from contrastlib.models.weights import Weights
from contrastlib.names import find

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Classifier(nn.Module):
    r"""An image classifier: images in [0, 1] in, logits out.

    .. math:: y = f\left(\frac{x - \mu}{\sigma}\right), \qquad x \in [0, 1]^{N \times 3 \times H \times W}

    Wraps any network that maps normalised images (N, 3, H, W) to logits (N, C), or to an object with ``.logits``.
    The network itself is not changed, nor switched to evaluation mode: that is the caller's to do.

    Args:
        model: the network.
        class_names: one name per logit; the same name may stand there twice.
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
        class_names: tuple of names, or None.
        input_size: (H, W).
        mean: buffer (1, 3, 1, 1).
        std: buffer (1, 3, 1, 1).
        weights: where the weights came from.
        name: what the network is called.

    Raises:
        ValueError: a size is not positive, std is not, or the interpolation is unknown.
        TypeError: the model is no module.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        *,
        class_names: Sequence[str] | None = None,
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
        self.model = model
        self.training = model.training
        self.class_names = None if class_names is None else tuple(class_names)
        self.input_size = _pair(input_size)
        self.recipe = Recipe(self.input_size, resize, crop, interpolation)
        self.register_buffer("mean", _per_channel(mean, "mean", model), persistent=False)
        self.register_buffer("std", _per_channel(std, "std", model), persistent=False)
        if (self.std <= 0).any():
            raise ValueError(f"std must be positive, got {std}")
        self.weights = weights or Weights("the user's own model")
        self.name = name or type(model).__name__
        self._layer_name = None if layer is None else resolve(model, layer)[0]
        self._probes: dict[Size, Probe] = {}
        self._in_order: set[Size] = set()
        self._attends = any("attention" in type(module).__name__.lower() for module in model.modules())

    def forward(self, images: Tensor) -> Tensor:
        """The logits of a batch.

        Args:
            images: (N, 3, H, W), floating point, in [0, 1].

        Returns:
            logits (N, C), before softmax.

        Raises:
            ValueError: wrong shape, values outside [0, 1], NaN; a module in training mode; the network's output is
                not (N, C), or C differs from the number of class names.
            TypeError: the images are not a floating-point tensor.
        """
        _check_images(images)
        self._check_mode()
        return self._check_logits(self.model(self._normalised(images)), len(images))

    @property
    def layer_name(self) -> str:
        """The default layer for maps, the one given or else the last whose output is still a map.

        Found with one forward pass on a black image and remembered; see :func:`contrastlib.models.layers.default_layer`
        for the rule. Where a network works on tokens, a backward pass tells which layer's patch tokens still matter;
        see :meth:`layers`.

        Raises:
            ValueError: the network has no such layer; name one with ``layer=``.
        """
        if self._layer_name is None:
            self._layer_name = default_layer(self._probed(self.input_size)) or self.layers().recommended
            if not self._layer_name:
                raise ValueError(f"no layer of {self.name} is a map that the logits depend on; "
                                 "print(classifier.layers().table(parts=True)) says what each gives")
        return self._layer_name

    def layers(self, images: Tensor | None = None) -> LayerReport:
        """The layer doctor: what every layer gives, how it is read as a map, and which one to explain at.

        Runs the network forward and backward once. For each layer the report says its shape and how that is read
        (channels first or last, or tokens on a grid behind some prefix tokens), at what share of the places the
        gradient is zero, which signs its values have, and which module overwrites them in place.

        Args:
            images: (N, 3, H, W) in [0, 1]; None for one of random pixels at the input size.

        Returns:
            the report; print it.

        Raises:
            ValueError, TypeError: the images are not as :meth:`forward` wants them.
        """
        with torch.inference_mode(False):
            if images is None:
                noise = torch.rand(1, 3, *self.input_size, generator=torch.Generator().manual_seed(0))
                images = noise.to(self.mean)
            _check_images(images)
            size = (images.shape[-2], images.shape[-1])
            found = examine(self.model, self._normalised(images.clone()), self._probed(size))
            with suppress(ValueError):  # the usual rule finds no layer, the gradient may
                found = replace(found, recommended=default_layer(self._probed(size)) or found.recommended)
        return found

    def read_as(self, shape: Sequence[int], size: Size) -> Layout:
        """How an output of a given shape is read as a map: channels first, channels last, or tokens on a grid.

        The grid of tokens is the one that the network itself had as a map before, such as its patch embedding; found
        with a forward pass at that size and remembered. That the tokens lie in reading order is checked.

        Args:
            shape: of the output, with the batch.
            size: (H, W) of the images.

        Returns:
            the layout.

        Raises:
            ValueError: the output is no map; says what was found.
        """
        # A network of convolutions needs no probing to read its maps.
        layout = (self._probed(size).layout(tuple(shape)) if len(shape) == 3 or self._attends
                  else read(tuple(shape), size))
        if layout.kind == "tokens" and size not in self._in_order:
            check_order(self.model, self._probed(size), self._normalised)
            self._in_order.add(size)
        return layout

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
        pictures = image if isinstance(image, list | tuple) else [image]
        if not pictures:
            raise ValueError("prepare() got an empty list of pictures")
        return torch.cat([self.recipe.apply(p) for p in pictures]).to(self.mean.device)

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
        if isinstance(name_or_index, bool) or not hasattr(name_or_index, "__index__"):
            raise TypeError(f"a class is a name or an index, got {name_or_index!r}")
        return self._in_range(name_or_index.__index__())

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

    def _normalised(self, images: Tensor) -> Tensor:
        mean, std = self.mean.to(images.device), self.std.to(images.device)
        return ((images - mean) / std).to(mean.dtype)

    def _probed(self, size: Size) -> Probe:
        if size not in self._probes:
            with torch.inference_mode(False):
                black = torch.zeros(1, 3, *size, dtype=self.mean.dtype, device=self.mean.device)
                self._probes[size] = probe(self.model, self._normalised(black))
        return self._probes[size]

    def _in_range(self, index: int) -> int:
        if not 0 <= index < self.num_classes:
            raise ValueError(f"a class index of {self.name} must lie in [0, {self.num_classes}), got {index}")
        return index

    def _check_mode(self) -> None:
        for name, module in self.model.named_modules():
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
        if self.class_names is not None and logits.shape[1] != len(self.class_names):
            raise ValueError(f"{self.name} returned {logits.shape[1]} logits for {len(self.class_names)} class names")
        return logits


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a tensor (N, 3, H, W), got {type(images).__name__}; see prepare()")
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be (N, 3, H, W), got shape {tuple(images.shape)}")
    if not images.is_floating_point():
        raise TypeError(f"images must be floating point in [0, 1], got {images.dtype}; see prepare()")
    check_range(images, "images")


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    h, w = (size, size) if isinstance(size, int) else size
    if h < 1 or w < 1:
        raise ValueError(f"input_size must be positive, got {size}")
    return int(h), int(w)


def _per_channel(values: float | Sequence[float], what: str, model: nn.Module) -> Tensor:
    tensor = torch.as_tensor(values, dtype=torch.get_default_dtype()).reshape(-1)
    if tensor.numel() not in (1, 3):
        raise ValueError(f"{what} must be one number or one for each of the three channels, got {tensor.numel()}")
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    tensor = tensor if first is None else tensor.to(first)
    return tensor.expand(3).reshape(1, 3, 1, 1).clone()
