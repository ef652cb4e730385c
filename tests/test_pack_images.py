"""Tests of analysis/pack_images.py: what it packs is what torchvision's ImageFolder gives, or it refuses."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import pack_images

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("BITCLUSTER_SHARED", ROOT.parent / "shared"))


def pack(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, ROOT / "analysis/pack_images.py", *map(str, arguments)], capture_output=True,
                          text=True, check=False)


def save_image(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def made_pixels(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, name in enumerate(["b/1.png", "b/2.png", "b/3.png", "a/1.png", "c/1.png", "c/2.png"]):
        save_image(tmp_path / "images" / name, made_pixels(12, 15, seed))
    return tmp_path / "images"


def test_pack_orders_classes_and_takes_turns(folder: Path, tmp_path: Path) -> None:
    done = pack(folder, tmp_path / "p.h5", "--resize", 0, "--crop", 7)
    assert done.returncode == 0, done.stderr
    assert "6 of 6 images" in done.stderr
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["images"].shape == (6, 7, 7, 3) and file["images"].dtype == np.uint8
        assert file["images"].chunks == (1, 7, 7, 3) and file["images"].fletcher32
        assert file["labels"].dtype == np.int32
        assert file["labels"][:].tolist() == [0, 1, 2, 1, 2, 1]
        assert file["classes"][:].tolist() == [b"a", b"b", b"c"]
        assert file.attrs["crop"] == 7 and file.attrs["resize"] == 0
        # centre of 12 x 15: round half to even, as torchvision, gives rows 2..8 and columns 4..10
        assert np.array_equal(file["images"][0], made_pixels(12, 15, 3)[2:9, 4:11])
        assert np.array_equal(file["images"][3], made_pixels(12, 15, 1)[2:9, 4:11])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "p.h5"]


def test_pack_follows_a_class_list_and_a_limit(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("c third letter\nnone not there\nb\na\n")
    done = pack(folder, tmp_path / "p.h5", "--resize", 0, "--crop", 0, "--limit", 4, "--classes",
               tmp_path / "classes.txt")
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["labels"][:].tolist() == [0, 2, 3, 0]
        assert np.array_equal(file["images"][1], made_pixels(12, 15, 0))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pack_resizes_the_short_side(tmp_path: Path, interpolation: str) -> None:
    save_image(tmp_path / "images/a/wide.png", np.full((20, 45, 3), (10, 20, 30), np.uint8))
    save_image(tmp_path / "images/a/high.png", np.full((41, 20, 3), (10, 20, 30), np.uint8))
    save_image(tmp_path / "images/a/gray.png", np.full((30, 30), 99, np.uint8))
    done = pack(tmp_path / "images", tmp_path / "p.h5", "--resize", 10, "--crop", 10,
               "--interpolation", interpolation)
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "p.h5") as file:
        assert np.array_equal(file["images"][0], np.full((10, 10, 3), 99))  # a constant image stays constant
        assert np.array_equal(file["images"][1], np.full((10, 10, 3), (10, 20, 30)))
        assert file["images"].shape == (3, 10, 10, 3)


def test_pack_names_what_it_cannot_use_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    def fails(*arguments: object) -> str:
        done = pack(*arguments)
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        assert not list(tmp_path.glob("p.h5*"))
        return done.stderr

    output = tmp_path / "p.h5"
    assert "no such folder" in fails(tmp_path / "none", output)
    assert "a/1.png': it is 15 x 12, the crop is 13" in fails(folder, output, "--resize", 0, "--crop", 13)
    assert "does not exist" in fails(folder, tmp_path / "none" / "p.h5", "--resize", 0, "--crop", 7)
    (tmp_path / "classes.txt").write_text("a\nb\n")
    assert "does not name the folder 'c'" in fails(folder, output, "--classes", tmp_path / "classes.txt")
    save_image(folder / "c/3.png", made_pixels(12, 16, 9))
    assert "c/3.png': it is 16 x 12" in fails(folder, output, "--resize", 0, "--crop", 0)
    (folder / "b/2.png").write_bytes(b"no image")
    assert "b/2.png" in fails(folder, output, "--resize", 0, "--crop", 7)
    truncated = (folder / "b/1.png").read_bytes()[:-200]
    (folder / "b/2.png").write_bytes(truncated)
    assert "b/2.png" in fails(folder, output, "--resize", 0, "--crop", 7)


def test_pack_on_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    save_image(tmp_path / "images/a/1.png", made_pixels(200, 200, 1))
    command = f"ulimit -f 50; {sys.executable} {ROOT}/analysis/pack_images.py {tmp_path}/images {tmp_path}/p.h5 --resize 0"
    done = subprocess.run(["bash", "-c", command + " --crop 200"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "cannot write" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not list(tmp_path.glob("p.h5*"))


def test_pack_of_real_photographs_is_their_centre(tmp_path: Path) -> None:
    samples = SHARED / "data" / "imagenet_samples"
    if not samples.is_dir():
        pytest.skip("no shared folder with sample photographs")
    done = pack(samples / "val", tmp_path / "p.h5", "--classes", samples / "synsets.txt", "--limit", 40)
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["labels"][:].tolist() == list(range(40))
        for index, line in enumerate((samples / "synsets.txt").read_text().splitlines()[:40]):
            path = next((samples / "val" / line.split()[0]).iterdir())
            pixels = np.asarray(Image.open(path).convert("RGB"))
            assert min(pixels.shape[:2]) == 256
            top, left = (int(round((extent - 224) / 2)) for extent in pixels.shape[:2])
            assert np.array_equal(file["images"][index], pixels[top:top + 224, left:left + 224])


# ---- folders


def packed(path: Path) -> tuple[np.ndarray, list[int], list[str]]:
    """Images, labels, names of the classes."""
    with h5py.File(path) as file:
        return file["images"][:], file["labels"][:].tolist(), [os.fsdecode(name) for name in file["classes"][:]]


def packs(folder: Path, output: Path, *arguments: object) -> str:
    """Packs as the images are; what was said."""
    done = pack(folder, output, "--resize", 0, "--crop", 0, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stderr


def refuses(folder: Path, output: Path, *arguments: object) -> str:
    done = pack(folder, output, "--resize", 0, "--crop", 0, *arguments)
    assert done.returncode == 1 and "Traceback" not in done.stderr and not output.is_file(), done.stderr
    return done.stderr


def test_hidden_folders_and_files_are_no_classes(folder: Path, tmp_path: Path) -> None:
    expected = (packs(folder, tmp_path / "p.h5"), packed(tmp_path / "p.h5"))[1]
    for name in (".git", ".ipynb_checkpoints", "__MACOSX", "@eaDir", "b/.ipynb_checkpoints", "b/__MACOSX"):
        save_image(folder / name / "x.png", made_pixels(12, 15, 9))
    (folder / "a/._1.png").write_bytes(b"Mac OS X")
    (folder / "c/.DS_Store").write_bytes(b"")
    said = packs(folder, tmp_path / "p.h5")
    assert "not packed: 8 hidden, first " in said
    found = packed(tmp_path / "p.h5")
    assert np.array_equal(found[0], expected[0]) and found[1:] == expected[1:] == (expected[1], ["a", "b", "c"])


@pytest.mark.parametrize("content", [None, "note.txt", "picture.gif", ".hidden.png"])
def test_a_folder_without_images_is_refused_by_name(folder: Path, tmp_path: Path, content: str | None) -> None:
    (folder / "aa").mkdir()
    if content:
        (folder / "aa" / content).write_bytes(b"")
    said = refuses(folder, tmp_path / "p.h5")
    assert "folder 'aa' holds no images" in said and "would be class 1" in said and "--classes" in said
    (tmp_path / "classes").write_text("a\naa\nb\nc\n")
    assert "1 of 4 classes have no images, first 'aa'" in packs(folder, tmp_path / "p.h5", "--classes", tmp_path / "classes")
    assert packed(tmp_path / "p.h5")[1] == [0, 2, 3, 2, 3, 2]


def test_what_is_not_packed_is_counted(folder: Path, tmp_path: Path) -> None:
    Image.new("P", (15, 12)).save(folder / "a/x.gif")
    Image.new("P", (15, 12)).save(folder / "b/y.GIF")
    (folder / "c/README").write_text("")
    (folder / "labels.csv").write_text("")
    said = packs(folder, tmp_path / "p.h5")
    for line in ("2 .gif, first", "1 without a suffix, first", "1 beside the class folders, first"):
        assert f"not packed: {line}" in said
    assert "6 images of 3 classes" in pack(folder, tmp_path / "p.h5", "--resize", 0, "--crop", 0).stdout


def test_folders_within_a_class_belong_to_it(folder: Path, tmp_path: Path) -> None:
    save_image(folder / "a/more/deep/0.PNG", made_pixels(12, 15, 9))
    (folder / "c/link").symlink_to(folder / "a/more")
    packs(folder, tmp_path / "p.h5")
    images, labels, _ = packed(tmp_path / "p.h5")
    assert labels == [0, 1, 2, 0, 1, 2, 1, 2] and np.array_equal(images[3], made_pixels(12, 15, 9))
    (folder / "c/loop").symlink_to(folder / "c")
    assert "c/loop': it is the same folder as another" in refuses(folder, tmp_path / "q.h5")


def test_files_that_are_none(folder: Path, tmp_path: Path) -> None:
    (folder / "a/broken.png").symlink_to("nowhere")
    assert "a/broken.png': there is no file behind it" in refuses(folder, tmp_path / "p.h5")
    (folder / "a/broken.png").unlink()
    os.mkfifo(folder / "a/pipe.png")
    assert "a/pipe.png': there is no file behind it" in refuses(folder, tmp_path / "p.h5")
    assert "it is not a folder" in refuses(folder / "b/1.png", tmp_path / "p.h5")


def test_names_that_are_not_text(folder: Path, tmp_path: Path) -> None:
    strange = os.fsdecode(b"k\xe4fer\x1b[31m\n")
    save_image(folder / strange / "1.png", made_pixels(12, 15, 9))
    packs(folder, tmp_path / "p.h5")
    assert packed(tmp_path / "p.h5")[2] == ["a", "b", "c", strange]
    (folder / strange / "1.png").write_bytes(b"")
    said = refuses(folder, tmp_path / "q.h5")
    assert "\\x1b[31m\\n/1.png" in said and "\x1b" not in said


def test_a_limit_is_not_above_what_there_is(folder: Path, tmp_path: Path) -> None:
    assert "cannot pack 7 images" in refuses(folder, tmp_path / "p.h5", "--limit", 7)
    packs(folder, tmp_path / "p.h5", "--limit", 6)


def test_only_a_file_is_replaced_and_never_an_input(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in refuses(folder, tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()
    done = pack(folder, folder / "a/1.png", "--resize", 0, "--crop", 0)
    assert done.returncode == 1 and "one of the inputs" in done.stderr
    assert np.array_equal(np.asarray(Image.open(folder / "a/1.png")), made_pixels(12, 15, 3))
    (tmp_path / "classes").write_text("a\nb\nc\n")
    done = pack(folder, tmp_path / "classes", "--resize", 0, "--crop", 0, "--classes", tmp_path / "classes")
    assert done.returncode == 1 and "one of the inputs" in done.stderr
    (tmp_path / "old.h5").write_bytes(b"old")
    (tmp_path / "link.h5").symlink_to("old.h5")
    packs(folder, tmp_path / "link.h5")
    assert (tmp_path / "link.h5").is_symlink() and len(packed(tmp_path / "old.h5")[1]) == 6


# ---- lists of classes

CLASSES = {
    "plain": b"c\nb\na\n",
    "byte order mark": b"\xef\xbb\xbfc\nb\na\n",
    "Windows": b"c\r\nb\r\na\r\n",
    "UTF-16": "c\r\nb\r\na\r\n".encode("utf-16"),
    "CSV": b"c,third letter\nb,second\na,first\n",
    "semicolons": b"c;2\nb;1\na;0",
    "quoted": b'"c","third, letter"\n"b","second"\n"a","first"\n',
    "words": b"  c third letter, last\n\nb\tsecond\na\n\n",
}


@pytest.mark.parametrize("content", CLASSES.values(), ids=CLASSES)
def test_class_lists_as_they_come(folder: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "classes").write_bytes(content)
    assert pack_images.read_classes(tmp_path / "classes", folder, ["a", "b", "c"]) == ["c", "b", "a"]


def test_class_names_with_spaces_and_commas(tmp_path: Path) -> None:
    names = ["great white shark", "great white", "great", "crane, bird", "k\u00e4fer"]
    for seed, name in enumerate(names):
        save_image(tmp_path / "images" / name / "1.png", made_pixels(4, 5, seed))
    for lines in ([f"{name} and what it is" for name in names], [f'"{name}",described' for name in names], names):
        (tmp_path / "classes").write_text("\n".join(lines), encoding="utf-8")
        assert pack_images.read_classes(tmp_path / "classes", tmp_path / "images", sorted(names)) == names
    packs(tmp_path / "images", tmp_path / "p.h5", "--classes", tmp_path / "classes")
    assert packed(tmp_path / "p.h5")[1:] == ([0, 1, 2, 3, 4], names)


@pytest.mark.parametrize(("content", "reason"), [
    (b"a\nb\nc\nk\xe4fer\n", "line 4 is not UTF-8"),
    (b"class,name\na,x\nb,y\nc,z\n", "'class' of its first line looks like a heading"),
    (b"wnid\na\nb\nc\nd\ne\n", "'wnid' of its first line looks like a heading"),
    (b"a\nb\nc\nb x\n", "class 'b' stands there twice"),
    (b"0,a\n1,b\n2,c\n", "does not name the folder 'a'"),
    (b'{"0": ["a"], "1": ["b"], "2": ["c"]}', "does not name the folder 'a'"),
    (b"", "does not name the folder 'a'"),
    (b"\xff\xfe\x00", "is not UTF-8"),
])
def test_class_lists_that_would_shift_labels(folder: Path, tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "classes").write_bytes(content)
    with pytest.raises(pack_images.PackError, match=re.escape(reason)):
        pack_images.read_classes(tmp_path / "classes", folder, ["a", "b", "c"])


def test_class_lists_that_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "classes").write_bytes(b"a\nb\nc\nk\xe4fer\n")
    assert "line 4 is not UTF-8" in refuses(folder, tmp_path / "p.h5", "--classes", tmp_path / "classes")
    assert "Is a directory" in refuses(folder, tmp_path / "p.h5", "--classes", folder)
    assert "No such file" in refuses(folder, tmp_path / "p.h5", "--classes", tmp_path / "none")


# ---- odd images


def odd_images(folder: Path) -> None:
    """One of every mode and oddity that decoders know."""
    colour = Image.fromarray(made_pixels(20, 30, 1))
    gray = colour.convert("L")
    alpha = Image.fromarray(np.random.default_rng(2).integers(0, 256, (20, 30), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    with_alpha, gray_alpha = colour.convert("RGBA"), gray.convert("LA")
    with_alpha.putalpha(alpha)
    gray_alpha.putalpha(alpha)
    palette = colour.convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    for index, (name, image, options) in enumerate([
        ("colour.png", colour, {}), ("gray.png", gray, {}), ("bit.png", gray.convert("1"), {}),
        ("alpha.png", with_alpha, {}), ("gray_alpha.png", gray_alpha, {}), ("palette.png", palette, {}),
        ("palette_transparent.png", palette, {"transparency": bytes(range(0, 256, 16))}),
        ("palette_index.png", palette, {"transparency": 3}), ("gray_transparent.png", gray, {"transparency": 7}),
        ("colour.jpg", colour, {"quality": 90}), ("gray.jpg", gray, {}), ("cmyk.jpg", colour.convert("CMYK"), {}),
        ("progressive.jpeg", colour, {"progressive": True}), ("turned.jpg", colour, {"exif": exif.tobytes()}),
        ("cmyk.tif", colour.convert("CMYK"), {}), ("ycc.tiff", colour.convert("YCbCr"), {"compression": "jpeg"}),
        ("gray.tif", gray, {}), ("colour.bmp", colour, {}), ("palette.bmp", palette, {}), ("colour.ppm", colour, {}),
        ("gray.pgm", gray, {}), ("alpha.webp", with_alpha, {"lossless": True}), ("colour.webp", colour, {}),
    ]):
        path = folder / f"class{index % 3}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **options)
    Image.open(folder / "class0/colour.png").save(folder / "class1/misnamed.png", format="JPEG")
    deep = np.random.default_rng(3).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    (folder / "class2/deep.ppm").write_bytes(b"P6 30 20 65535\n" + deep.astype(">u2").tobytes())


@pytest.mark.parametrize(("resize", "crop", "interpolation"), [(0, 0, "bilinear"), (16, 11, "bilinear"), (23, 16, "bicubic")])
def test_odd_images_are_what_torchvision_gives(tmp_path: Path, resize: int, crop: int, interpolation: str) -> None:
    torchvision = pytest.importorskip("torchvision", reason="python3-torchvision is not installed")
    odd_images(tmp_path / "images")
    done = pack(tmp_path / "images", tmp_path / "p.h5", "--resize", resize, "--crop", crop, "--interpolation", interpolation)
    assert done.returncode == 0, done.stderr
    transforms = torchvision.transforms
    steps = [transforms.Resize(resize, transforms.InterpolationMode(interpolation))] if resize else []
    steps += [transforms.CenterCrop(crop)] if crop else []
    expected = torchvision.datasets.ImageFolder(tmp_path / "images", transforms.Compose(steps))
    images, labels, classes = packed(tmp_path / "p.h5")
    assert classes == expected.classes and len(labels) == len(expected) == 25
    # there class by class, here in turn over the classes
    of_class = {label: iter(np.flatnonzero(np.array(labels) == label)) for label in set(labels)}
    for (path, _), (image, label) in zip(expected.samples, expected):
        assert np.array_equal(images[next(of_class[label])], np.asarray(image)), path


def test_images_of_more_than_8_bits_are_refused(folder: Path, tmp_path: Path) -> None:
    deep = np.arange(180).reshape(12, 15) * 300
    for name, pixels in (("16.png", deep.astype(np.uint16)), ("16.tif", deep.astype(np.uint16)),
                         ("32.tif", deep.astype(np.int32)), ("float.tiff", (deep / 65535).astype(np.float32))):
        save_image(tmp_path / name, pixels)
        assert f"{name}': it has more than 8 bits per channel" in pack_images.decode(tmp_path / name, 0, 0, "bilinear")
    (folder / "b/16.pgm").write_bytes(b"P5 15 12 65535\n" + deep.astype(">u2").tobytes())
    assert "b/16.pgm': it has more than 8 bits" in refuses(folder, tmp_path / "p.h5")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "webp", "ppm"])
def test_damaged_images_are_refused_by_name(folder: Path, tmp_path: Path, suffix: str) -> None:
    whole = io.BytesIO()
    Image.fromarray(made_pixels(12, 15, 1)).save(whole, {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix))
    path = folder / f"b/damaged.{suffix}"
    for content in (b"", whole.getvalue()[:3], whole.getvalue()[:30], whole.getvalue()[:-60], b"\0" * 500):
        path.write_bytes(content)
        found = pack_images.decode(path, 0, 0, "bilinear")
        assert isinstance(found, str) and f"b/damaged.{suffix}'" in found
    assert f"b/damaged.{suffix}'" in refuses(folder, tmp_path / "p.h5")


def test_an_image_that_would_not_fit_memory_is_refused(folder: Path, tmp_path: Path) -> None:
    save_image(folder / "b/thin.png", made_pixels(1, 20000, 1))
    done = pack(folder, tmp_path / "p.h5", "--resize", 256, "--crop", 224)
    assert done.returncode == 1 and "b/thin.png': 20000 x 1 would become 256 x 5120000" in done.stderr
