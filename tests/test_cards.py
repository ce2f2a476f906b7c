"""Cards: those of the zoo are sound, those of users are read strictly, and one line says what is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgezoo import nets
from edgezoo.cards import Card, Licence, RemoteFile, names, read_card, read_labels, zoo_folder
from edgezoo.convert.decoders import EXITS
from edgezoo.errors import CardError, UnknownName

GOOD = """
name = "mine"
task = "detect"
labels = "labels.txt"
file = "mine.onnx"

[licence]
code = "MIT"
weights = "unknown"
data = "my own photos"

[input]
size_wh = [320, 240]
fit = "letterbox"

[decoder]
name = "boxes-scores"
"""
REMOTE = 'url = "https://host/folder/net.pth"\nsha256 = "0123abcd"\n'


def write(folder: Path, text: str) -> Path:
    (folder / "labels.txt").write_text("cat\ndog\n")
    card = folder / "mine.toml"
    card.write_text(text, "utf-8")
    return card


# The zoo.


def test_the_zoo_is_not_empty() -> None:
    assert {"yolox_nano", "mobilenet_v2"} <= set(names())
    assert names() == sorted(names())


@pytest.mark.parametrize("name", names())
def test_a_card_of_the_zoo(name: str) -> None:
    card = read_card(name)
    assert card.name == name
    assert card.path == zoo_folder() / f"{name}.toml"
    assert read_card(card.path) == card
    assert card.title
    assert card.about
    built_in = card.bundle is not None  # ours: nobody else tells of it
    assert card.origin.startswith("https://") or built_in
    assert EXITS[card.decoder.name].task == card.task
    assert len(set(card.label_names)) >= len(card.label_names) - 2  # ImageNet has two cranes and two maillots
    for file in (card.weights, card.onnx):
        assert file is None or file.url.startswith("https://")
    if card.weights is not None and "pytorch.org" in card.weights.url:
        assert f"-{card.weights.sha256}." in card.weights.name  # the name bears the start of its hash
    assert card.accuracy
    assert all(0 < entry.value < 1 for entry in card.accuracy)
    assert all(entry.source.startswith("https://") or built_in for entry in card.accuracy)
    if card.network is not None:
        assert (Path(nets.__file__).parent / f"{card.network.family}.py").is_file()


def test_every_list_of_labels_is_used() -> None:
    there = {path.stem for path in (zoo_folder() / "labels").glob("*.txt")}
    assert there == {card.labels for card in map(read_card, names()) if "/" not in card.labels}


@pytest.mark.parametrize(
    ("name", "raises"),
    [
        ("yolox_nan", "no model is called 'yolox_nan'; did you mean 'yolox_nano'?"),
        ("YOLOX_NANO", "did you mean 'yolox_nano'?"),
        ("zzz", f"no model is called 'zzz'; known: {names()[0]}, "),
        ("", "no model is called ''"),
        ("../models/yolox_nano", "no model is called"),
        ("labels/coco80", "no model is called"),
    ],
)
def test_a_name_that_is_none(name: str, raises: str) -> None:
    with pytest.raises(UnknownName, match=re.escape(raises)):
        read_card(name)


# A card of one's own.


def test_a_good_card(tmp_path: Path) -> None:
    card = read_card(write(tmp_path, GOOD))
    assert (card.name, card.file, card.label_names) == ("mine", "mine.onnx", ("cat", "dog"))
    assert card.input.size_wh == (320, 240)
    assert card.input.mean == (0, 0, 0)
    assert read_card(str(tmp_path / "mine.toml")) == card


@pytest.mark.parametrize(
    ("old", "new", "raises"),
    [
        ('labels = "labels.txt"', 'lables = "labels.txt"', "lables: no such key; did you mean 'labels'?"),
        ('fit = "letterbox"', 'fitt = "letterbox"', "input.fitt: no such key; did you mean 'fit'?"),
        (
            'fit = "letterbox"',
            'fit = "leterbox"',
            "input.fit: expected 'stretch' or 'letterbox' or 'crop', got 'leterbox'",
        ),
        ('fit = "letterbox"', "", "input.fit: expected 'stretch' or 'letterbox' or 'crop', got nothing; add it"),
        ('fit = "letterbox"', 'fit = "letterbox"\ncolor = "rgb"', "input.color: expected 'BGR' or 'RGB', got 'rgb'"),
        ('fit = "letterbox"', 'fit = "letterbox"\nmean = [1, 2]', "input.mean: expected a list of 3: a number"),
        ('fit = "letterbox"', 'fit = "letterbox"\nstd = [1, 0, 1]', "input: expected std above 0, got (1.0, 0.0, 1.0)"),
        ('fit = "letterbox"', 'fit = "letterbox"\npad = 300', "input: expected pad of 0..255, got 300"),
        ('fit = "letterbox"', 'fit = "crop"\ncrop = 1.5', "input: expected crop above 0 and up to 1, got 1.5"),
        ("[320, 240]", "[320, 0]", "input: expected size_wh of 1..16384 pixels, got (320, 0)"),
        ("[320, 240]", "[320.0, 240]", "input.size_wh[0]: expected a whole number, got 320.0"),
        ("[320, 240]", "320", "input.size_wh: expected a list of 2: a whole number, a whole number, got 320"),
        ('task = "detect"', 'task = "segment"', "task: expected 'classify' or 'detect', got 'segment'"),
        ('name = "mine"', 'name = "../mine"', "expected a name of letters, digits"),
        ('name = "mine"', 'name = ""', "expected a name of letters, digits"),
        ('name = "mine"', "name = 5", "name: expected a text, got 5"),
        ('file = "mine.onnx"', "", "expected one of [weights] with [network], [onnx], file or bundle, got none"),
        ('file = "mine.onnx"', 'file = "mine.pt"', "file: expected an .onnx, or a checkpoint (.safetensors, .pth)"),
        (
            'file = "mine.onnx"',
            'file = "mine"',
            "file: expected an .onnx, or a checkpoint (.safetensors, .pth), got 'mine'",
        ),
        (
            'file = "mine.onnx"',
            'file = "mine.safetensors"',
            "file: a card with the checkpoint 'mine.safetensors' needs a [network] to load it into",
        ),
        ('file = "mine.onnx"', "bundle = true", "bundle: expected a text, got True"),
        ('file = "mine.onnx"', 'path = "/etc/passwd"', "path: no such key"),
        ('code = "MIT"', "", "licence.code: expected a text, got nothing; add it"),
        ("[decoder]", f"[weights]\n{REMOTE}[decoder]", "a card with [weights] needs a [network]"),
        ("[decoder]", f"[onnx]\n{REMOTE.replace('0123abcd', 'xyz')}[decoder]", "onnx: expected sha256 as 8 to 64"),
        ("[decoder]", f"[onnx]\n{REMOTE.replace('0123abcd', '0123ABCD')}[decoder]", "lower-case"),
        (
            "[decoder]",
            f"[onnx]\n{REMOTE.replace('0123abcd', '0123abc')}[decoder]",
            "8 to 64 lower-case hexadecimal digits",
        ),
        (
            "[decoder]",
            f"[onnx]\n{REMOTE.replace('https', 'file')}[decoder]",
            "expected a http(s) url that ends in a file's name",
        ),
        ("[decoder]", f"[onnx]\n{REMOTE.replace('net.pth', '')}[decoder]", "expected a http(s) url"),
        ("[decoder]", f"[onnx]\n{REMOTE.replace('net.pth', '..')}[decoder]", "expected a http(s) url"),
        ("[decoder]", "[decoder", "expected a card in TOML: "),
        ("[decoder]", "x = " + "[" * 5000 + "\n[decoder]", "expected a card in TOML: "),
        ("[decoder]", "x = " + "1" * 5000 + "\n[decoder]", "expected a card in TOML: "),
    ],
    ids=lambda text: " ".join(text.split())[:40],
)
def test_a_bad_card(tmp_path: Path, old: str, new: str, raises: str) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(CardError) as caught:
        read_card(path)
    told = str(caught.value)
    assert told.startswith(f"{path}: ")
    assert raises in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("content", "raises"),
    [
        (None, "expected a card, got no such file"),
        (b"\xff\xfe", "expected a card in TOML"),
        ("folder", "expected a card in TOML"),
    ],
)
def test_not_a_card_at_all(tmp_path: Path, content: bytes | str | None, raises: str) -> None:
    path = tmp_path / "mine.toml"
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(CardError, match=raises):
        read_card(path)


@pytest.mark.parametrize(
    ("keys", "has_graph"),
    [
        ('file = "mine.onnx"', True),
        ('file = "mine.pth"', False),
        ('file = "mine/best.safetensors"', False),
        ('file = "mine.pth"\nbundle = "mine/bundle"', False),
        ('bundle = "mine/bundle"', False),
    ],
)
def test_what_a_card_may_have_beside_it(tmp_path: Path, keys: str, has_graph: bool) -> None:
    text = GOOD.replace('file = "mine.onnx"', keys)
    if not has_graph and "file" in keys:
        text = text.replace("[decoder]", '[network]\nfamily = "yolox"\n\n[decoder]')
    (tmp_path / "mine" / "bundle").mkdir(parents=True)
    card = read_card(write(tmp_path, text))
    assert card.has_graph == has_graph
    assert card.built_in == (tmp_path / "mine" / "bundle" if "bundle" in keys else None)


# What a card names.


@pytest.mark.parametrize(
    ("bundle", "raises"),
    [
        ("gone", "bundle = 'gone': expected a folder beside the card, got no such folder"),
        ("labels.txt", "bundle = 'labels.txt': expected a folder beside the card, got no such folder"),
        ("../other", "refused: it leaves the card's folder"),
        ("/tmp", "refused: it leaves the card's folder"),
        ("link", "refused: it leaves the card's folder"),
    ],
)
def test_a_bundle_that_is_not_beside_the_card(tmp_path: Path, bundle: str, raises: str) -> None:
    (tmp_path / "card").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "card" / "link").symlink_to(tmp_path / "other")
    card = read_card(write(tmp_path / "card", GOOD.replace('file = "mine.onnx"', f'bundle = "{bundle}"')))
    with pytest.raises(CardError, match=re.escape(raises)):
        _ = card.built_in


@pytest.mark.parametrize(
    ("labels", "content", "raises"),
    [
        ("names.txt", "cat\n dog \n\n", None),
        ("names.txt", "cät\r\nhund\r\n", None),
        ("coco80", "", None),  # the zoo's
        ("names.txt", "\n \n", "expected class names, one a line, got an empty file"),
        ("names.txt", b"\xff\xfe\xfa", "expected class names as UTF-8 text"),
        ("other.txt", "cat", "labels = 'other.txt': expected a file beside the card, got no such file"),
        ("coco81", "", "labels = 'coco81': expected one of the zoo's lists (coco80, imagenet1k), or a text file"),
        ("../names.txt", "cat", "refused: it leaves the card's folder"),
        ("/etc/hostname", "", "refused: it leaves the card's folder"),
        ("link.txt", "", "refused: it leaves the card's folder"),
    ],
)
def test_labels(tmp_path: Path, labels: str, content: str | bytes, raises: str | None) -> None:
    folder = tmp_path / "card"
    folder.mkdir()
    for place in (folder, tmp_path):
        (place / "names.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "link.txt").symlink_to(tmp_path / "names.txt")
    card = read_card(write(folder, GOOD.replace('"labels.txt"', f'"{labels}"')))
    if raises:
        with pytest.raises(CardError, match=re.escape(raises)):
            _ = card.label_names
    elif labels == "coco80":
        assert len(card.label_names) == 80
    else:
        assert len(card.label_names) == 2
        assert all(name == name.strip() for name in card.label_names)


def test_labels_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="expected class names as UTF-8 text"):
        read_labels(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("code", "weights", "permissive"),
    [
        ("Apache-2.0", "BSD-3-Clause", True),
        ("MIT", "unknown", False),
        ("AGPL-3.0", "MIT", False),
        ("MIT", "CC-BY-NC-4.0", False),
        ("mit", "MIT", False),  # SPDX names are exact
    ],
)
def test_permissive(code: str, weights: str, permissive: bool) -> None:
    assert Licence(code=code, weights=weights, data="any").permissive is permissive


def test_a_remote_file_is_named_by_its_url() -> None:
    assert RemoteFile(url="https://host/a/b/net-0123.pth", sha256="0" * 64).name == "net-0123.pth"


def test_cards_compare_by_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = (read_card(write(tmp_path / place, GOOD)) for place in "ab")
    assert isinstance(one, Card)
    assert one == other
    assert one.path != other.path
