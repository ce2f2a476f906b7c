"""The architectures: official keys and sizes, shapes, and graphs that answer as torch does."""

from __future__ import annotations

import importlib
import io
import os
import pkgutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from edgezoo import nets
from edgezoo.cards import names, read_card

torch = pytest.importorskip("torch", reason="the architectures are written in torch")


class Net(NamedTuple):
    family: str
    options: dict[str, Any]
    classes: int
    parameters: int
    entries: int
    """Of the official state dict."""
    shapes: dict[str, tuple[int, ...]]
    """Of a few of them."""

    def build(self, classes: int | None = None) -> Any:
        torch.manual_seed(0)
        return module(self.family).build(classes=classes or self.classes, **self.options).eval()


NETS = {
    "yolox_nano": Net(
        "yolox",
        {"depth": 0.33, "width": 0.25, "depthwise": True},
        classes=80,
        parameters=912_159,
        entries=642,
        shapes={
            "backbone.backbone.stem.conv.conv.weight": (16, 12, 3, 3),
            "backbone.backbone.dark3.1.m.2.conv2.dconv.conv.weight": (32, 1, 3, 3),
            "backbone.bu_conv2.pconv.bn.running_var": (64,),
            "head.cls_preds.0.weight": (80, 64, 1, 1),
        },
    ),
    "yolox_tiny": Net(
        "yolox",
        {"depth": 0.33, "width": 0.375},
        classes=80,
        parameters=5_055_855,
        entries=462,
        shapes={
            "backbone.backbone.dark5.1.conv2.conv.weight": (384, 768, 1, 1),
            "backbone.C3_n3.m.0.conv2.conv.weight": (96, 96, 3, 3),
            "head.reg_convs.2.1.bn.num_batches_tracked": (),
        },
    ),
    "yolox_s": Net(
        "yolox",
        {"depth": 0.33, "width": 0.5},
        classes=80,
        parameters=8_968_255,
        entries=462,
        shapes={"backbone.lateral_conv0.conv.weight": (256, 512, 1, 1), "head.obj_preds.2.bias": (1,)},
    ),
    "mobilenet_v2": Net(
        "mobilenet_v2",
        {},
        classes=1000,
        parameters=3_504_872,
        entries=314,
        shapes={
            "features.1.conv.1.weight": (16, 32, 1, 1),
            "features.17.conv.1.0.weight": (960, 1, 3, 3),
            "features.18.1.running_mean": (1280,),
            "classifier.1.weight": (1000, 1280),
        },
    ),
    "mobilenet_v3_small": Net(
        "mobilenet_v3",
        {"variant": "small"},
        classes=1000,
        parameters=2_542_856,
        entries=244,
        shapes={
            "features.1.block.1.fc1.weight": (8, 16, 1, 1),
            "features.4.block.2.fc2.bias": (96,),
            "features.12.0.weight": (576, 96, 1, 1),
            "classifier.0.weight": (1024, 576),
        },
    ),
    "mobilenet_v3_large": Net(
        "mobilenet_v3",
        {"variant": "large"},
        classes=1000,
        parameters=5_483_032,
        entries=312,
        shapes={
            "features.1.block.1.0.weight": (16, 16, 1, 1),
            "features.4.block.2.fc1.weight": (24, 72, 1, 1),
            "features.16.1.running_mean": (960,),
            "classifier.3.bias": (1000,),
        },
    ),
    "resnet18": Net(
        "resnet",
        {"depth": 18},
        classes=1000,
        parameters=11_689_512,
        entries=122,
        shapes={"layer2.0.downsample.1.weight": (128,), "layer4.1.conv2.weight": (512, 512, 3, 3)},
    ),
    "resnet50": Net(
        "resnet",
        {"depth": 50},
        classes=1000,
        parameters=25_557_032,
        entries=320,
        shapes={
            "layer1.0.downsample.0.weight": (256, 64, 1, 1),
            "layer3.5.conv2.weight": (256, 256, 3, 3),
            "fc.weight": (1000, 2048),
        },
    ),
}
FAMILIES = sorted(found.name for found in pkgutil.iter_modules(nets.__path__))


def module(family: str) -> Any:
    return importlib.import_module(f"edgezoo.nets.{family}")


def images(n: int, height: int = 64, width: int = 64) -> Any:
    """Noise, from faint to strong."""
    noise = torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(n))
    return noise * torch.linspace(0.2, 2, n).view(n, 1, 1, 1)


def lively(net: Any) -> Any:
    """`net` with weights that carry a signal to its end, and with BatchNorms that have seen a batch."""
    for layer in net.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 0.5
    with torch.no_grad():
        net.train()(images(8))
    return net.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_keeps_the_contract(family: str) -> None:
    assert callable(module(family).build)
    assert module(family).SIZE_MULTIPLE >= 1
    assert all(word in module(family).__doc__ for word in ("paper", "original", "weights", "https://"))
    with pytest.raises(KeyError):
        module(family).classes_of({"of.another.net": torch.zeros(3)})


def test_every_family_is_in_the_table() -> None:
    assert {net.family for net in NETS.values()} == set(FAMILIES)


@pytest.mark.parametrize("name", names())
def test_cards_name_a_network_that_builds(name: str) -> None:
    card = read_card(name)
    if card.network is None:
        pytest.skip(f"{name} is a graph, not a network")
    family = module(card.network.family)
    net = family.build(classes=len(card.label_names), **card.network.options)
    assert family.classes_of(net.state_dict()) == len(card.label_names)
    assert all(side % family.SIZE_MULTIPLE == 0 for side in card.input.size_wh)


@pytest.mark.parametrize("name", NETS)
def test_keys_and_sizes_are_the_official_ones(name: str) -> None:
    net = NETS[name].build()
    state = net.state_dict()
    assert sum(parameter.numel() for parameter in net.parameters()) == NETS[name].parameters
    assert len(state) == NETS[name].entries
    assert {key: tuple(state[key].shape) for key in NETS[name].shapes} == NETS[name].shapes


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("classes", [1, 2, 7])
def test_a_checkpoint_tells_its_classes(name: str, classes: int) -> None:
    state = NETS[name].build(classes).state_dict()
    assert module(NETS[name].family).classes_of(state) == classes


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "resnet18", "resnet50"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (32, 32), (97, 131)])
def test_classifiers_take_any_size(name: str, height: int, width: int) -> None:
    with torch.no_grad():
        assert NETS[name].build(5)(images(2, height, width)).shape == (2, 5)


@pytest.mark.parametrize("name", ["yolox_nano", "yolox_tiny"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 160)])
def test_yolox_has_one_candidate_a_cell(name: str, height: int, width: int) -> None:
    net = NETS[name].build(3)
    cells = [(height // stride, width // stride) for stride in module("yolox").STRIDES]
    with torch.no_grad():
        raw, levels = net(images(2, height, width)), net.levels(images(2, height, width))
    assert raw.shape == (2, sum(h * w for h, w in cells), 4 + 1 + 3)
    assert [tuple(boxes.shape) for boxes, _ in levels] == [(2, 4, h, w) for h, w in cells]
    assert [tuple(logits.shape) for _, logits in levels] == [(2, 1 + 3, h, w) for h, w in cells]
    boxes, logits = levels[0]
    first_row = torch.cat([boxes, logits.sigmoid()], 1)[:, :, 0].transpose(1, 2)
    torch.testing.assert_close(raw[:, : cells[0][1]], first_row)


def test_yolox_starts_out_seeing_nothing() -> None:
    net = NETS["yolox_nano"].build()
    with torch.no_grad():
        assert net(images(2))[..., 4:].mean().item() == pytest.approx(0.01, rel=0.1)


def test_focus_is_a_convolution_of_2x2_patches() -> None:
    focus = module("yolox").Focus(8).eval()
    x = images(2, 32, 64)
    patches = torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)
    with torch.no_grad():
        torch.testing.assert_close(focus(x), focus.conv(patches))


def test_spp_pools_5_9_and_13() -> None:
    spp = module("yolox").SPP(8).eval()
    x = images(2, 16, 24).repeat(1, 3, 1, 1)[:, :8]
    with torch.no_grad():
        y = spp.conv1(x)
        pools = [torch.nn.functional.max_pool2d(y, size, stride=1, padding=size // 2) for size in (5, 9, 13)]
        torch.testing.assert_close(spp(x), spp.conv2(torch.cat([y, *pools], 1)))


@pytest.mark.filterwarnings("ignore")
def test_the_exported_graph_answers_as_torch_does() -> None:
    """Networks of the other families are converted, and so compared with torch, by tests of other rooms."""
    pytest.importorskip("onnxscript", reason="torch exports to ONNX with it")
    onnx = pytest.importorskip("onnx", reason="the graph is looked into")
    runtime = pytest.importorskip("onnxruntime", reason="the graph is run")
    net = lively(NETS["resnet18"].build(10))
    program = torch.onnx.export(
        net,
        (images(2),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("N")},),
        input_names=["images"],
        verbose=False,
    )
    buffer = io.BytesIO()
    program.save(buffer)
    session = runtime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        answers = {n: net(images(n)).numpy() for n in (1, 2, 8)}
    spread = np.ptp(answers[8], axis=0).max()  # what the image changes, beside which a difference must vanish
    for n, expected in answers.items():
        (got,) = session.run(None, {"images": images(n).numpy()})
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * spread)
    kinds = {node.op_type for node in onnx.load_from_string(buffer.getvalue()).graph.node}
    folds_away = {"BatchNormalization", "Slice", "Gather", "Shape", "Constant", "Identity", "Dropout"}
    assert not kinds & folds_away


@pytest.fixture(scope="module")
def mirror() -> Path:
    folder = Path(os.environ.get("EDGEZOO_MIRROR", ""))
    if not os.environ.get("EDGEZOO_MIRROR") or not folder.is_dir():
        pytest.skip("EDGEZOO_MIRROR names no folder with the official weights")
    return folder


def test_real_mobilenet_v2_loads(mirror: Path) -> None:
    state = torch.load(mirror / "mobilenet_v2-b0353104.pth", map_location="cpu", weights_only=True)
    assert module("mobilenet_v2").classes_of(state) == 1000
    NETS["mobilenet_v2"].build().load_state_dict(state, strict=True)


def test_real_yolox_nano_answers_as_its_onnx(mirror: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="the official graph is run")
    net = NETS["yolox_nano"].build()
    state = torch.load(mirror / "yolox_nano.pth", map_location="cpu", weights_only=True)["model"]
    net.load_state_dict(state, strict=True)
    session = runtime.InferenceSession(mirror / "yolox_nano.onnx", providers=["CPUExecutionProvider"])
    x = torch.rand(1, 3, 416, 416) * 255
    (expected,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(net(x).numpy(), expected, atol=1e-4)
