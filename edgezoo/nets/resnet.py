"""ResNet: each block adds to what it was given.

paper       He et al., Deep Residual Learning for Image Recognition, https://arxiv.org/abs/1512.03385
original    https://github.com/pytorch/vision (torchvision.models.resnet*), whose keys these are
weights     BSD-3-Clause as the repository, with no licence of their own; trained on ImageNet-1k
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

SIZE_MULTIPLE = 1

Depth = Literal[18, 34, 50]


def build(*, classes: int, depth: Depth) -> nn.Module:
    block, repeats = SHAPES[depth]
    return ResNet(block, repeats, classes=classes)


def classes_of(state_dict: Mapping[str, Tensor]) -> int:
    return state_dict["fc.weight"].shape[0]


class ResNet(nn.Module):
    def __init__(self, block: type[Basic | Bottleneck], repeats: tuple[int, ...], *, classes: int) -> None:
        super().__init__()
        channels = 64

        def layer(width: int, repeats: int, *, stride: int) -> nn.Sequential:
            nonlocal channels
            blocks = []
            for step in (stride, *[1] * (repeats - 1)):
                blocks.append(block(channels, width, stride=step))
                channels = width * block.expansion
            return nn.Sequential(*blocks)

        self.conv1 = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = layer(64, repeats[0], stride=1)
        self.layer2 = layer(128, repeats[1], stride=2)
        self.layer3 = layer(256, repeats[2], stride=2)
        self.layer4 = layer(512, repeats[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) normalised RGB -> logits (N, C)."""
        x: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.fc(self.avgpool(x).flatten(1))
        return x


class Basic(nn.Module):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, inputs: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(inputs, width, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y = self.relu(y + (self.downsample(x) if self.downsample is not None else x))
        return y


class Bottleneck(nn.Module):
    """1x1 to narrow, 3x3, 1x1 to widen; the stride is in the 3x3, where torchvision has it ("v1.5")."""

    expansion = 4

    def __init__(self, inputs: int, width: int, *, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(inputs, outputs, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y = self.relu(y + (self.downsample(x) if self.downsample is not None else x))
        return y


def projection(inputs: int, outputs: int, *, stride: int) -> nn.Sequential | None:
    """Brings a block's input to the shape of its output; None where it has it already."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


SHAPES: dict[Depth, tuple[type[Basic | Bottleneck], tuple[int, int, int, int]]] = {  # table 1 of the paper
    18: (Basic, (2, 2, 2, 2)),
    34: (Basic, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
}
