"""YOLOX: one candidate for each cell of three grids, no anchors.

paper       Ge et al., YOLOX: Exceeding YOLO Series in 2021, https://arxiv.org/abs/2107.08430
original    https://github.com/Megvii-BaseDetection/YOLOX; keys as in the files of release 0.1.1rc0
weights     Apache-2.0, trained on COCO train2017

         depth  width  depthwise
nano      0.33   0.25   yes
tiny      0.33   0.375  no
s         0.33   0.5    no
m         0.67   0.75   no
l         1      1      no
x         1.33   1.25   no
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, silu

SIZE_MULTIPLE = 32
STRIDES = (8, 16, 32)


def build(
    *, classes: int, depth: float, width: float, depthwise: bool = False, depthwise_coarse: bool | None = None
) -> YOLOX:
    """`depth` scales how often blocks repeat, `width` how many channels they have.

    `depthwise_coarse`: the two convolutions that step down to the coarsest map alone; None: as the others. In a dense
    network they hold a fifth of all weights and do little of the work.
    """
    coarse = depthwise if depthwise_coarse is None else depthwise_coarse
    return YOLOX(
        classes=classes,
        channels=int(64 * width),
        repeats=max(round(3 * depth), 1),
        spatial=SeparableConv if depthwise else Conv,
        down=SeparableConv if coarse else Conv,
    )


def classes_of(state_dict: Mapping[str, Tensor]) -> int:
    return state_dict["head.cls_preds.0.weight"].shape[0]


class YOLOX(nn.Module):
    def __init__(self, *, classes: int, channels: int, repeats: int, spatial: Spatial, down: Spatial) -> None:
        super().__init__()
        self.backbone = PAFPN(channels, repeats=repeats, spatial=spatial, down=down)
        self.head = Head(channels, classes=classes, spatial=spatial)

    def levels(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Per stride s of `STRIDES`: boxes (N, 4, H/s, W/s) and logits (N, 1 + C, H/s, W/s).

        A box is (cx, cy, log w, log h) in strides, its centre relative to the cell's top-left corner.
        The first logit is the objectness.
        """
        levels: list[tuple[Tensor, Tensor]] = self.head(self.backbone(images))
        return levels

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) BGR 0..255 -> (N, A, 5 + C): box, objectness, class scores.

        Boxes are as in `levels`, the rest went through a sigmoid: the layout of the official `.onnx` files.
        """
        boxes, logits = zip(*self.levels(images), strict=True)
        box = torch.cat([level.flatten(2) for level in boxes], 2)
        score = torch.cat([level.flatten(2) for level in logits], 2).sigmoid()
        return torch.cat([box, score], 1).transpose(1, 2)


class Conv(nn.Sequential):
    conv: nn.Conv2d
    bn: nn.BatchNorm2d

    def __init__(self, inputs: int, outputs: int, size: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            OrderedDict(
                conv=nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False),
                bn=nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03),
                act=nn.SiLU(inplace=True),
            )
        )


class SeparableConv(nn.Sequential):
    """A `Conv` in two steps: each channel by itself, then each pixel by itself."""

    def __init__(self, inputs: int, outputs: int, size: int, *, stride: int = 1) -> None:
        super().__init__(
            OrderedDict(
                dconv=Conv(inputs, inputs, size, stride=stride, groups=inputs),
                pconv=Conv(inputs, outputs, 1),
            )
        )


Spatial: TypeAlias = type[Conv | SeparableConv]  # how the net's 3x3 convolutions are built


class Focus(nn.Module):
    """Each 2x2 patch of pixels becomes 12 channels, then a 3x3 convolution.

    That is a 6x6 convolution of stride 2 whose weights are stored in another order, and runs as one.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv = Conv(12, outputs, 3)

    def forward(self, images: Tensor) -> Tensor:
        stored = self.conv.conv.weight.view(-1, 2, 2, 3, 3, 3)  # out, x in patch, y in patch, colour, patch row, column
        kernel = stored.permute(0, 3, 4, 2, 5, 1).reshape(-1, 3, 6, 6)
        x: Tensor = self.conv.bn(conv2d(images, kernel, stride=2, padding=2))
        return silu(x)


class Bottleneck(nn.Module):
    def __init__(self, channels: int, *, shortcut: bool, spatial: Spatial) -> None:
        super().__init__()
        self.conv1 = Conv(channels, channels, 1)
        self.conv2 = spatial(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(x))
        return x + y if self.shortcut else y


class CSP(nn.Module):
    """Half of the channels go through `repeats` bottlenecks, half go past them."""

    def __init__(self, inputs: int, outputs: int, *, repeats: int, spatial: Spatial, shortcut: bool = False) -> None:
        super().__init__()
        half = outputs // 2
        self.conv1 = Conv(inputs, half, 1)
        self.conv2 = Conv(inputs, half, 1)
        self.conv3 = Conv(outputs, outputs, 1)
        self.m = nn.Sequential(*(Bottleneck(half, shortcut=shortcut, spatial=spatial) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3(torch.cat([self.m(self.conv1(x)), self.conv2(x)], 1))
        return x


class SPP(nn.Module):
    """What is near: the maximum over 5x5, 9x9 and 13x13 pixels; 9 is 5 after 5, 13 is 5 after 9."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = Conv(channels, channels // 2, 1)
        self.conv2 = Conv(channels * 2, channels, 1)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        pyramid = [self.conv1(x)]
        for _ in range(3):
            pyramid.append(self.pool(pyramid[-1]))
        x = self.conv2(torch.cat(pyramid, 1))
        return x


class CSPDarknet(nn.Module):
    """Images to feature maps of strides 8, 16, 32, with 4, 8, 16 times `channels`."""

    def __init__(self, channels: int, *, repeats: int, spatial: Spatial, down: Spatial) -> None:
        super().__init__()

        def stage(
            inputs: int, *between: nn.Module, repeats: int, shortcut: bool = True, by: Spatial = spatial
        ) -> nn.Sequential:
            outputs = inputs * 2
            return nn.Sequential(
                by(inputs, outputs, 3, stride=2),
                *between,
                CSP(outputs, outputs, repeats=repeats, spatial=spatial, shortcut=shortcut),
            )

        self.stem = Focus(channels)
        self.dark2 = stage(channels, repeats=repeats)
        self.dark3 = stage(channels * 2, repeats=repeats * 3)
        self.dark4 = stage(channels * 4, repeats=repeats * 3)
        self.dark5 = stage(channels * 8, SPP(channels * 16), repeats=repeats, shortcut=False, by=down)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c3 = self.dark3(self.dark2(self.stem(images)))
        c4 = self.dark4(c3)
        c5 = self.dark5(c4)
        return c3, c4, c5


class PAFPN(nn.Module):
    """The backbone's maps, made to know of each other: coarse to fine, then back."""

    def __init__(self, channels: int, *, repeats: int, spatial: Spatial, down: Spatial) -> None:
        super().__init__()
        fine, middle, coarse = channels * 4, channels * 8, channels * 16

        def csp(inputs: int, outputs: int) -> CSP:
            return CSP(inputs, outputs, repeats=repeats, spatial=spatial)

        self.backbone = CSPDarknet(channels, repeats=repeats, spatial=spatial, down=down)
        self.lateral_conv0 = Conv(coarse, middle, 1)
        self.C3_p4 = csp(middle * 2, middle)
        self.reduce_conv1 = Conv(middle, fine, 1)
        self.C3_p3 = csp(fine * 2, fine)
        self.bu_conv2 = spatial(fine, fine, 3, stride=2)
        self.C3_n3 = csp(fine * 2, middle)
        self.bu_conv1 = down(middle, middle, 3, stride=2)
        self.C3_n4 = csp(middle * 2, coarse)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c3, c4, c5 = self.backbone(images)
        top = self.lateral_conv0(c5)
        mid = self.reduce_conv1(self.C3_p4(torch.cat([upsample(top), c4], 1)))
        p3 = self.C3_p3(torch.cat([upsample(mid), c3], 1))
        p4 = self.C3_n3(torch.cat([self.bu_conv2(p3), mid], 1))
        p5 = self.C3_n4(torch.cat([self.bu_conv1(p4), top], 1))
        return p3, p4, p5


def upsample(x: Tensor) -> Tensor:
    return interpolate(x, scale_factor=2.0, mode="nearest")


class Head(nn.Module):
    """Two towers on each map, for what is there and for where it is."""

    def __init__(self, channels: int, *, classes: int, spatial: Spatial) -> None:
        super().__init__()
        hidden = channels * 4

        def tower() -> nn.Sequential:
            return nn.Sequential(spatial(hidden, hidden, 3), spatial(hidden, hidden, 3))

        def each(layer: Callable[[], nn.Module]) -> nn.ModuleList:
            return nn.ModuleList(layer() for _ in STRIDES)

        self.stems = nn.ModuleList(Conv(channels * scale, hidden, 1) for scale in (4, 8, 16))
        self.cls_convs, self.reg_convs = each(tower), each(tower)
        self.cls_preds = each(lambda: predictor(hidden, classes, prior=0.01))
        self.reg_preds = each(lambda: predictor(hidden, 4))
        self.obj_preds = each(lambda: predictor(hidden, 1, prior=0.01))

    def forward(self, maps: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        levels = []
        for level, features in enumerate(maps):
            x = self.stems[level](features)
            what, where = self.cls_convs[level](x), self.reg_convs[level](x)
            logits = torch.cat([self.obj_preds[level](where), self.cls_preds[level](what)], 1)
            levels.append((self.reg_preds[level](where), logits))
        return levels


def predictor(inputs: int, outputs: int, *, prior: float | None = None) -> nn.Conv2d:
    """A 1x1 convolution; `prior` is the probability it starts out with, as almost every cell is empty."""
    layer = nn.Conv2d(inputs, outputs, 1)
    if prior is not None and layer.bias is not None:
        nn.init.constant_(layer.bias, math.log(prior / (1 - prior)))
    return layer
