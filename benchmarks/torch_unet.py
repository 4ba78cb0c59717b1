"""The plain U-Net of `unets.nets.unet` and a step of its training in PyTorch: the other side of the ratio.

It needs torch and NumPy alone. Layers have the names that they have in Keras, so that weights can be copied.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

LOGIT_SCALE = 8.0  # that of unets.nets.unet
DTYPES = {"float32": torch.float32, "mixed_bfloat16": torch.bfloat16}


class TorchUnet(nn.Module):  # type: ignore[misc]
    """A U-Net of plain blocks, batch-normalized, with bilinear upsampling, for one class.

    Args:
        size_hw: (height, width) of the photos.
        depth: halvings.
        base_filters: channels of the finest level, doubled at each halving.
        max_filters: where doubling stops.
        stride: side of the pixel blocks that are folded into channels.
    """

    def __init__(
        self, size_hw: tuple[int, int], *, depth: int, base_filters: int, max_filters: int, stride: int
    ) -> None:
        super().__init__()
        self.depth, self.stride = depth, stride
        missing = [-side % (stride * 2**depth) for side in size_hw]
        (self.top, bottom), (self.left, right) = ((number // 2, number - number // 2) for number in missing)
        self.height, self.width = size_hw
        self.padding = (self.left, right, self.top, bottom)
        filters = [min(base_filters << level, max_filters) for level in range(depth + 1)]
        self.layers = nn.ModuleDict()
        channels = 3 * stride**2
        for level, name in enumerate([*(f"down{level}" for level in range(depth)), "bottom"]):
            self._add_block(name, channels, filters[level])
            channels = filters[level]
        for level in reversed(range(depth)):
            self.layers[f"up{level}_mix"] = nn.Conv2d(channels, filters[level], 1)
            self._add_block(f"up{level}", 2 * filters[level], filters[level])
            channels = filters[level]
        self.layers["classify"] = nn.Conv2d(channels, stride**2, 1)

    def forward(self, photos_nhwc: torch.Tensor) -> torch.Tensor:
        """Returns float32 logits (batch, 1, height, width) of uint8 photos (batch, height, width, 3)."""
        x = photos_nhwc.permute(0, 3, 1, 2).float()  # the same memory: channels last
        x = functional.pad(x, self.padding, mode="reflect") / 127.5 - 1
        if self.stride > 1:
            x = functional.pixel_unshuffle(x, self.stride)
        x = x.contiguous(memory_format=torch.channels_last)
        skips = []
        for level in range(self.depth):
            x = self._run_block(f"down{level}", x)
            skips.append(x)
            x = functional.max_pool2d(x, 2)
        x = self._run_block("bottom", x)
        for level in reversed(range(self.depth)):
            x = self.layers[f"up{level}_mix"](x)
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = self._run_block(f"up{level}", torch.cat([skips[level], x], dim=1))
        with torch.autocast(x.device.type, enabled=False):
            logits = LOGIT_SCALE * self.layers["classify"](x.float())
        if self.stride > 1:
            logits = functional.pixel_shuffle(logits, self.stride)
        return logits[:, :, self.top : self.top + self.height, self.left : self.left + self.width]

    def copy_weights(self, weights: dict[str, npt.NDArray[np.float32]]) -> None:
        """Takes over the weights of the net in Keras, by `<layer>/<variable>`."""
        renamed = {"kernel": "weight", "gamma": "weight", "beta": "bias", "moving_mean": "running_mean"}
        state = self.layers.state_dict()
        for path, value in weights.items():
            layer, kind = path.split("/")[-2:]
            copied = torch.from_numpy(value)
            if kind == "kernel":
                copied = copied.permute(3, 2, 0, 1)  # Keras: (height, width, in, out)
                if layer == "down0a_conv" and self.stride > 1:
                    # Folded channels: Keras has (row, column, colour), pixel_unshuffle (colour, row, column).
                    blocks = copied.reshape(len(copied), self.stride**2, 3, 3, 3)
                    copied = blocks.transpose(1, 2).reshape(copied.shape)
            state[f"{layer}.{renamed.get(kind, 'running_var' if kind == 'moving_variance' else kind)}"] = copied
        self.layers.load_state_dict(state)

    def count_parameters(self) -> int:
        """Returns the number of floats: weights, and the statistics of normalization."""
        return sum(value.numel() for value in self.state_dict().values() if value.is_floating_point())

    def _add_block(self, name: str, channels: int, filters: int) -> None:
        for part, before in (("a", channels), ("b", filters)):
            self.layers[f"{name}{part}_conv"] = nn.Conv2d(before, filters, 3, padding=1, bias=False)
            self.layers[f"{name}{part}_norm"] = nn.BatchNorm2d(filters, eps=1e-3, momentum=0.1)

    def _run_block(self, name: str, x: torch.Tensor) -> torch.Tensor:
        for part in "ab":
            x = functional.relu(self.layers[f"{name}{part}_norm"](self.layers[f"{name}{part}_conv"](x)))
        return x


class TorchStepper:
    """Trains the net on one batch: `bce` + `dice`, AdamW, in channels-last order; compiled where there is a GPU.

    Args:
        model: depth, base_filters, max_filters and stride of the net.
        photos: uint8 (batch, height, width, 3).
        targets: uint8 (batch, height, width, 1).
        precision: float32, or mixed_bfloat16 (autocast).
        clip_norm: longest gradient, or None.
    """

    def __init__(
        self,
        model: dict[str, Any],
        photos: npt.NDArray[np.uint8],
        targets: npt.NDArray[np.uint8],
        *,
        precision: str,
        clip_norm: float | None,
    ) -> None:
        self.is_gpu = torch.cuda.is_available()
        self.device = "cuda" if self.is_gpu else "cpu"
        self.photos, self.targets = photos, targets
        self.dtype, self.clip_norm = DTYPES[precision], clip_norm
        height, width = photos.shape[1:3]
        net = TorchUnet((height, width), **model).to(self.device, memory_format=torch.channels_last)
        self.net, self.parameters = net, net.count_parameters()
        self.run_net = torch.compile(net) if self.is_gpu else net
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)
        # TF32, as TensorFlow and JAX have it by default; CPUs know none.
        torch.set_float32_matmul_precision("high")

    def step(self) -> float:
        """Makes a step of training and returns the loss before it."""
        targets = torch.from_numpy(self.targets).to(self.device).permute(0, 3, 1, 2)
        self.optimizer.zero_grad(set_to_none=True)
        loss = bce_dice(targets.float() / 255, self._find_logits())
        loss.backward()
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.clip_norm)
        self.optimizer.step()
        return float(loss.item())

    def compare(self, reference_path: Path) -> tuple[float, float]:
        """Takes over a net's weights and returns how far apart logits and loss of the first step are, relatively."""
        with np.load(reference_path) as reference:
            self.net.copy_weights({path: reference[path] for path in reference.files if "/" in path})
            expected, loss = reference["logits"], float(reference["loss"])
        self.net.eval()
        with torch.no_grad():
            logits = self._find_logits().permute(0, 2, 3, 1).cpu().numpy()
        self.net.train()
        return float(np.abs(logits - expected).max() / np.abs(expected).max()), abs(self.step() / loss - 1)

    def _find_logits(self) -> torch.Tensor:
        photos = torch.from_numpy(self.photos).to(self.device)
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            logits: torch.Tensor = self.run_net(photos)
        return logits


def bce_dice(targets: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Returns `bce` + `dice` of `unets.nets.losses`, the mean over photos."""
    bce = functional.binary_cross_entropy_with_logits(logits, targets)
    probs = torch.sigmoid(logits)
    both, total = (probs * targets).sum((1, 2, 3)), (probs + targets).sum((1, 2, 3))
    return bce + (1 - (2 * both + 1) / (total + 1)).mean()
