"""Bundles: whole or refused. Whatever is changed, missing or dishonest in one is told before it is run."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgezoo import bundle as room
from edgezoo.bundle import MANIFEST, Bundle, digest_of, is_bundle
from edgezoo.engine import Engine
from edgezoo.errors import BundleError
from edgezoo.preprocess import Preprocess

RECIPE = Preprocess(size_wh=(64, 48), fit="letterbox")
FILES = ["model.fp32.onnx", "golden.npz", "NOTICE", MANIFEST]


@pytest.fixture
def folder(bundle_of: Callable[..., Bundle], tmp_path: Path) -> Path:
    """A good bundle to spoil."""
    copy = tmp_path / "copy"
    shutil.copytree(bundle_of("squares", RECIPE).folder, copy)
    return copy


def manifest_of(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
    del data["digest"]
    return data


def write_manifest(folder: Path, data: object) -> None:
    """As somebody does who corrects the digest too."""
    sealed = {**data, "digest": digest_of(data)} if isinstance(data, dict) else data
    (folder / MANIFEST).write_text(json.dumps(sealed), "utf-8")


def seal(folder: Path, what: str, content: bytes) -> None:
    """Change a file as somebody does who corrects its hash too."""
    data = manifest_of(folder)
    entry = data["artifacts"][0] if what == "graph" else data[what]
    (folder / entry["file"]).write_bytes(content)
    entry["sha256"] = hashlib.sha256(content).hexdigest()
    write_manifest(folder, data)


def refusal(folder: Path, use: Callable[[Bundle], object] = lambda bundle: None) -> str:
    """What is said when the bundle is opened, or used."""
    with pytest.raises(BundleError) as caught:
        use(Bundle.open(folder))
    told = str(caught.value)
    assert str(folder) in told
    assert "\n" not in told
    assert len(told) < 500
    return told


def test_a_good_bundle(folder: Path) -> None:
    bundle = Bundle.open(folder)
    assert is_bundle(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert bundle.manifest.name == "squares"
    assert bundle.manifest.input == RECIPE
    assert bundle.manifest.batch is None
    assert bundle.artifact() is bundle.artifact("fp32")
    assert onnx.load_from_string(bundle.read_graph(bundle.artifact())).graph.input[0].name == "images"
    assert json.loads(bundle.manifest.to_json()) == json.loads((folder / MANIFEST).read_text("utf-8"))
    assert repr(bundle) == "Bundle(squares, detect, 64x48, fp32)"
    assert Bundle.open(str(folder)) == bundle


def test_its_golden_answers(folder: Path) -> None:
    golden = Bundle.open(folder).read_golden()
    images = [golden[name] for name in sorted(golden) if name.startswith("image_")]
    assert len(images) == len(golden["placed"]) == len(golden["out_boxes"]) == len(golden["out_scores"]) == 3
    for image, placed in zip(images, golden["placed"], strict=True):
        np.testing.assert_array_equal(RECIPE.place(image)[0], placed)


def test_its_notice_tells_the_licences(folder: Path) -> None:
    text = (folder / "NOTICE").read_text("utf-8")
    assert "MIT" in text
    assert "drawn by the test" in text


def test_a_precision_that_is_not_there(folder: Path) -> None:
    told = refusal(folder, lambda bundle: bundle.artifact("int8"))
    assert told.endswith("no artifact of precision 'int8' for onnxruntime; there is: fp32")


# Damage.


@pytest.mark.parametrize("name", FILES[:-1])
@pytest.mark.parametrize("where", [0, 0.5, 1])
def test_a_flipped_bit(folder: Path, name: str, where: float) -> None:
    data = bytearray((folder / name).read_bytes())
    data[int(where * (len(data) - 1))] ^= 1
    (folder / name).write_bytes(data)
    assert "its SHA-256 is not the one in bundle.json: the file is damaged or was changed" in refusal(folder)


@pytest.mark.parametrize("name", FILES[:-1])
def test_a_file_cut_off_or_gone(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    assert "damaged or was changed" in refusal(folder)
    (folder / name).unlink()
    assert "expected a file of the bundle: No such file or directory; convert again" in refusal(folder)


def test_a_file_that_changes_after_opening_is_not_run(folder: Path) -> None:
    bundle = Bundle.open(folder)
    graph = folder / "model.fp32.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(BundleError, match="damaged or was changed"):
        Engine(bundle)


# The manifest.


@pytest.mark.parametrize(
    ("content", "raises"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"\xff\xfe{}", "codec can't decode"),
        (b"[]", "expected bundle format 1, got None"),
        (b"5", "expected bundle format 1, got None"),
        (b"{}", "expected bundle format 1, got None; convert again"),
        (b'{"format": 2}', "expected bundle format 1, got 2; convert again"),
        (b'{"format": "1"}', "expected bundle format 1, got '1'"),
        (b'{"format": 1}', "name: expected a text, got nothing; add it"),
        (b"[" * 100_000, "recursion"),
        (b'{"format": ' + b"1" * 5000 + b"}", "integer"),
    ],
    ids=lambda value: str(value[:20]),
)
def test_a_manifest_that_is_none(folder: Path, content: bytes, raises: str) -> None:
    (folder / MANIFEST).write_bytes(content)
    told = refusal(folder)
    assert raises in told
    assert told.startswith(f"{folder / MANIFEST}: ")


def test_a_manifest_without_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_LARGEST_MANIFEST", 1000)
    assert "expected at most 0 MiB" in refusal(folder)


@pytest.mark.parametrize(
    ("keys", "value", "raises"),
    [
        (["lables"], [], "lables: no such key; did you mean 'labels'?"),
        (["artifacts", 0, "exec"], "rm", "artifacts[0].exec: no such key"),
        (["artifacts", 0, "file"], 5, "artifacts[0].file: expected a text, got 5"),
        (["artifacts"], [], "expected artifacts and labels, got none"),
        (["labels"], [], "expected artifacts and labels, got none"),
        (["task"], "segment", "task: expected 'classify' or 'detect', got 'segment'"),
        (["batch"], "2", "batch: expected a whole number, got '2'"),
        (["input", "fit"], "zoom", "input.fit: expected"),
        (["input", "std"], [1, 0, 1], "input: expected std above 0"),
        (["input", "size_wh"], [1 << 30, 1 << 30], "input: expected size_wh of 1..16384 pixels"),
        (["input", "mean"], [0, 0, float("nan")], "input.mean[2]: expected a number, got nan"),
        (["golden"], None, "golden: expected a table, got None"),
    ],
)
def test_a_manifest_that_breaks_a_rule(folder: Path, keys: list[Any], value: object, raises: str) -> None:
    data = manifest_of(folder)
    place = data
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    write_manifest(folder, data)
    assert raises in refusal(folder)


@pytest.mark.parametrize("entry", ["graph", "golden", "notice"])
@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "../copy/NOTICE",
        "sub/NOTICE",
        "..",
        ".",
        "",
        "a\\b",
        "C:x",
        "NOTICE\0",
        "link",
    ],
)
def test_a_name_that_leaves_the_folder(folder: Path, tmp_path: Path, entry: str, name: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (folder / "link").symlink_to(secret)
    (folder / "sub").mkdir()
    (folder / "sub" / "NOTICE").write_bytes(b"secret")
    data = manifest_of(folder)
    place = data["artifacts"][0] if entry == "graph" else data[entry]
    place |= {"file": name, "sha256": hashlib.sha256(b"secret").hexdigest()}
    write_manifest(folder, data)
    assert f"refused: bundle.json names {name!r}, which is not a plain file of this folder" in refusal(folder)


def test_a_name_that_is_no_file(folder: Path) -> None:
    (folder / "NOTICE").unlink()
    (folder / "NOTICE").mkdir()
    assert "expected a file of the bundle" in refusal(folder)
    (folder / "NOTICE").rmdir()
    os.mkfifo(folder / "NOTICE")  # reading it would wait for ever
    assert "expected a file of the bundle" in refusal(folder)


@pytest.mark.parametrize(
    ("make", "raises"),
    [
        (lambda path: None, "expected a bundle, a folder made by `edgezoo convert`; there is no such folder"),
        (lambda path: path.write_text("x"), "expected a bundle, a folder made by `edgezoo convert`"),
        (lambda path: path.mkdir(), "expected a bundle, but it has no bundle.json; make one with `edgezoo convert`"),
    ],
)
def test_not_a_bundle(tmp_path: Path, make: Callable[[Path], object], raises: str) -> None:
    place = tmp_path / "thing"
    make(place)
    assert raises in refusal(place)
    assert not is_bundle(place)


# A graph of somebody who corrects the hashes.


def graph_of(folder: Path) -> onnx.ModelProto:
    return onnx.load(folder / "model.fp32.onnx")


def outside(tensor: onnx.TensorProto) -> None:
    """Say that the tensor's data is in a file elsewhere."""
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def as_initializer(model: onnx.ModelProto) -> None:
    outside(model.graph.initializer[0])


def as_constant(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["secret"], value=onnx.numpy_helper.from_array(np.zeros(4, np.float32)))
    outside(node.attribute[0].t)
    model.graph.node.insert(0, node)


def in_a_branch(model: onnx.ModelProto) -> None:
    as_constant(inner := onnx.ModelProto())
    model.graph.node.insert(0, helper.make_node("If", ["c"], ["y"], then_branch=inner.graph, else_branch=inner.graph))


def in_a_function(model: onnx.ModelProto) -> None:
    as_constant(inner := onnx.ModelProto())
    function = helper.make_function("mine", "F", [], ["secret"], list(inner.graph.node), model.opset_import)
    model.functions.append(function)


def as_sparse(model: onnx.ModelProto) -> None:
    values = onnx.numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    indices = onnx.numpy_helper.from_array(np.zeros(1, np.int64), "where")
    sparse = helper.make_sparse_tensor(values, indices, [4])
    outside(sparse.values)
    model.graph.sparse_initializer.append(sparse)


@pytest.mark.parametrize("hide", [as_initializer, as_constant, in_a_branch, in_a_function, as_sparse])
def test_weights_in_another_file(folder: Path, hide: Callable[[onnx.ModelProto], None]) -> None:
    model = graph_of(folder)
    hide(model)
    seal(folder, "graph", model.SerializeToString())
    told = refusal(folder, Engine)
    assert "expected all weights inside, but some are in '../../etc/passwd'; refused" in told


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x00" * 100, b"\x08\x08"])
def test_a_graph_that_is_none(folder: Path, content: bytes) -> None:
    seal(folder, "graph", content)
    assert "expected an ONNX graph, got something else" in refusal(folder, Engine)


def other_door(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 32


def two_doors(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, [1]))


def other_exit(model: onnx.ModelProto) -> None:
    del model.graph.output[1]


@pytest.mark.parametrize(
    ("change", "raises"),
    [
        (other_door, "expected one input images uint8 (None, 48, 64, 3)"),
        (two_doors, "expected one input images uint8 (None, 48, 64, 3)"),
        (other_exit, "expected outputs ('boxes', 'scores'), got ['boxes']"),
    ],
)
def test_a_graph_of_another_contract(folder: Path, change: Callable[[onnx.ModelProto], None], raises: str) -> None:
    model = graph_of(folder)
    change(model)
    seal(folder, "graph", model.SerializeToString())
    with pytest.raises(BundleError) as caught:
        Engine(folder)
    assert raises in str(caught.value)


# Golden answers of such a one.


def zipped(name: str, content: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return data.getvalue()


def saved(array: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, array, allow_pickle=True)
    return data.getvalue()


def claiming(shape: tuple[int, ...]) -> bytes:
    """An array file whose head promises `shape` and whose body is a few bytes."""
    data = io.BytesIO()
    np.lib.format.write_array_header_1_0(data, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return data.getvalue() + b"\0" * 10


def deflated_wrongly() -> bytes:
    data = bytearray(zipped("placed.npy", saved(np.arange(1000))))
    data[60:90] = b"\xff" * 30
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "raises"),
    [
        (b"", "expected golden images and answers"),
        (b"PK\x03\x04 not really", "expected golden images and answers"),
        (saved(np.zeros(3)), "expected golden images and answers"),  # one array, not a set of them
        (zipped("placed.npy", b"\x93NUMPY"), "expected golden images and answers"),
        (zipped("placed.npy", saved(np.array([{"a": 1}], object))), "expected golden images and answers"),  # a pickle
        (zipped("placed.npy", claiming((1 << 40,))), "expected golden images and answers"),
        (zipped("placed.npy", claiming((1 << 62,))), "expected golden images and answers"),
        (deflated_wrongly(), "expected golden images and answers"),
        (zipped("placed.npy", saved(np.zeros(3 << 20, np.uint8))), "expected at most 2 MiB unpacked, got 3"),
    ],
    ids=range(9),
)
def test_golden_answers_that_are_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, raises: str
) -> None:
    monkeypatch.setattr(room, "_LARGEST_GOLDEN", 2 << 20)
    seal(folder, "golden", content)
    assert raises in refusal(folder, Bundle.read_golden)


def test_any_bit_of_the_manifest_counts(folder: Path) -> None:
    path = folder / MANIFEST
    good = path.read_bytes()
    dice = random.Random(0)
    for place in dice.sample(range(len(good)), 60):
        spoilt = bytearray(good)
        spoilt[place] ^= 1 << dice.randrange(8)
        path.write_bytes(bytes(spoilt))
        with pytest.raises(BundleError):
            Bundle.open(folder)
