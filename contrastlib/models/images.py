"""From a picture in whatever form to the tensor that a classifier takes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from contrastlib import pictures

Picture = str | Path | Image.Image | np.ndarray | Tensor
"""A file, a PIL image, an array (H, W) or (H, W, 3), or a tensor (3, H, W)."""


@dataclass(frozen=True)
class Recipe:
    """How a picture becomes the input of a network: resize, then centre crop.

    Attributes:
        input_size: (H, W) in pixels after the crop.
        resize: length of the short side before the crop; or (H, W), which does not keep the aspect; or None for
            8/7 of the input's short side with a crop, the usual ImageNet recipe, and for `input_size` without one.
        crop: whether the centre is cut out.
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or another of torchvision's modes.
    """

    input_size: tuple[int, int]
    resize: int | tuple[int, int] | None
    crop: bool
    interpolation: str

    def __post_init__(self) -> None:
        known = [mode.value for mode in InterpolationMode]
        if self.interpolation not in known:
            raise ValueError(f"interpolation must be one of {', '.join(known)}, got {self.interpolation!r}")

    def apply(self, picture: Picture) -> Tensor:
        """One picture, resized and cropped.

        Args:
            picture: see :data:`Picture`; arrays and tensors hold uint8, or floats in [0, 1].

        Returns:
            (1, 3, H, W) float32 in [0, 1].

        Raises:
            ValueError: the file is no image, or the values or the shape are not those of a picture.
            TypeError: the object is no picture at all.
        """
        image = to_pil_or_tensor(picture)
        mode = InterpolationMode(self.interpolation)
        image = F.resize(image, self._size(), interpolation=mode, antialias=True)
        if self.crop:
            image = F.center_crop(image, list(self.input_size))
        tensor = image if isinstance(image, Tensor) else F.to_tensor(image)
        return tensor[None].clamp(0, 1)  # bicubic resizing of floats overshoots

    def _size(self) -> list[int]:
        if self.resize is None:
            return [round(min(self.input_size) * 8 / 7)] if self.crop else list(self.input_size)
        return [self.resize] if isinstance(self.resize, int) else list(self.resize)


def to_pil_or_tensor(picture: Picture) -> Image.Image | Tensor:
    """A picture as 8-bit RGB, or as a float tensor where it comes in floats and would lose digits.

    Args:
        picture: see :data:`Picture`.

    Returns:
        a PIL image in RGB, or a tensor (3, H, W) float32 in [0, 1].

    Raises:
        ValueError: the file is no image, or the values or the shape are not those of a picture.
        TypeError: the object is no picture at all.
    """
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


def _from_array(array: np.ndarray) -> Image.Image | Tensor:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise ValueError(f"an array must be (H, W) or (H, W, 3), got shape {array.shape}")
    channels = array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)
    return _from_tensor(torch.from_numpy(np.ascontiguousarray(channels)).permute(2, 0, 1))


def _from_tensor(tensor: Tensor) -> Image.Image | Tensor:
    if tensor.ndim != 3 or tensor.shape[0] != 3:
        raise ValueError(f"a tensor must be (3, H, W), got shape {tuple(tensor.shape)}; pass a list for a batch")
    if tensor.dtype == torch.uint8:
        return F.to_pil_image(tensor.cpu())
    if not tensor.is_floating_point():
        raise ValueError(f"a picture holds uint8 in [0, 255] or floats in [0, 1], got {tensor.dtype}")
    check_range(tensor, "the picture")
    return tensor.float()


def check_range(values: Tensor, what: str) -> None:
    """Hold that values are numbers in [0, 1], in one pass over them.

    Args:
        values: any shape.
        what: what they are, for the message.

    Raises:
        ValueError: they are empty, not numbers, or outside [0, 1].
    """
    if not values.numel():
        raise ValueError(f"{what} must not be empty, got shape {tuple(values.shape)}")
    low, high = (v.item() for v in torch.aminmax(values.detach()))
    if low != low or high != high:
        raise ValueError(f"{what} must hold numbers in [0, 1], and has NaN among them")
    if low < 0 or high > 1:
        raise ValueError(f"{what} must hold numbers in [0, 1], they run from {low:.4g} to {high:.4g}; "
                         "the classifier itself subtracts the mean and divides by the standard deviation")
