#!/usr/bin/python3
"""Packs a folder of images, one sub-folder per class, into one HDF5 file that bitcluster reads (format "packed").

    analysis/pack_images.py imagenet/val val.h5 --classes synsets.txt --resize 256 --crop 224

Images: uint8 (n, crop, crop, 3), RGB, one chunk with a checksum each; labels: int32 (n). The classes are numbered in
the order of the sorted folder names, or of the lines of --classes (UTF-8; every line begins with a folder's name, what
follows after a space, comma or semicolon is not read; classes without images keep their number). Images are stored in
turn over the classes (the first of every class, then the second of every class, ...), so that any first part of the
file has all classes alike.

Files are found and decoded as torchvision's ImageFolder does, folders within a class included: alpha is dropped, an
orientation in EXIF is not applied. Resizing and cropping follow its Resize and CenterCrop. Hidden files and folders are
left out; what is not packed is counted on stderr. Refused are classes without images (unless --classes names them),
images that cannot be decoded whole, and those of more than 8 bits per channel in which torchvision would cut all above
255 to white (16-bit gray, whole numbers, floats).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import sys
import time
from collections import Counter, defaultdict
from functools import partial
from itertools import zip_longest
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}  # torchvision's IMG_EXTENSIONS
INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
# besides names with a dot: what macOS, Synology and Windows put beside the user's own files
HIDDEN = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
HEADINGS = {"class", "classes", "folder", "id", "label", "labels", "name", "synset", "wnid"}  # of a table of classes

Skipped = dict[str, list[Path]]  # kind of what is not packed: which


class PackError(Exception):
    """Input that cannot be packed; the message says why and what to do."""


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name in HIDDEN


def class_folders(folder: Path, skipped: Skipped) -> list[str]:
    """Names of the folders in `folder`, sorted."""
    if not folder.is_dir():
        why = "it is not a folder" if folder.exists() else "there is no such folder"
        raise PackError(f"cannot read '{folder}': {why}; give a folder with one folder per class")
    found = []
    for entry in sorted(folder.iterdir()):
        if is_hidden(entry.name):
            skipped["hidden"].append(entry)
        elif entry.is_dir():
            found.append(entry.name)
        else:
            skipped["beside the class folders"].append(entry)
    if not found:
        raise PackError(f"cannot read '{folder}': it holds no folders; give a folder with one folder per class")
    return found


def folder_of(line: str, found: set[str]) -> str:
    """Which folder a line of --classes names: its longest beginning that one is called, else its first word."""
    line = line.strip()
    ends = [match.start() for match in re.finditer(r"[\s,;]|$", line)]
    for end in reversed(ends):
        if (name := line[:end].strip('"')) in found:
            return name
    quoted, word = re.match(r'"([^"]*)"|([^\s,;]*)', line).groups()
    return word if quoted is None else quoted


def read_classes(path: Path, folder: Path, found: list[str]) -> list[str]:
    """Folder names in the order of the lines of a file. found: those that are there, all of which it must name."""
    try:
        content = path.read_bytes()
        is_utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))  # its byte order mark, as Windows writes it
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except OSError as error:
        raise PackError(f"cannot read '{path}': {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        line = content[:error.start].count(b"\n") + 1
        raise PackError(f"cannot read '{path}': line {line} is not UTF-8; save the file in this encoding") from error
    names = [folder_of(line, set(found)) for line in re.split(r"\r\n|\r|\n", text) if line.strip()]
    if twice := [name for name, lines in Counter(names).items() if lines > 1]:
        raise PackError(f"cannot use '{path}': class '{twice[0]}' stands there twice; remove one")
    if unknown := sorted(set(found) - set(names)):
        raise PackError(f"cannot use '{path}': it does not name the folder '{unknown[0]}' of '{folder}'; "
                        "add it or move the folder away")
    absent = set(names) - set(found)
    if names[0] in absent and (len(absent) == 1 or names[0].lower() in HEADINGS):
        raise PackError(f"cannot use '{path}': '{names[0]}' of its first line looks like a heading, since '{folder}' "
                        "has no such folder; remove the line, or make an empty folder of that name if it is class 0")
    return names


def class_images(folder: Path, skipped: Skipped) -> list[Path]:
    """The images in a folder and those within it, in torchvision's order."""
    images, seen = [], set()

    def refuse(error: OSError) -> None:
        raise PackError(f"cannot read '{error.filename}': {error.strerror}; check its permissions") from error

    for root, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        if (real := os.path.realpath(root)) in seen:
            raise PackError(f"cannot read '{root}': it is the same folder as another of its class; remove the link")
        seen.add(real)
        skipped["hidden"] += [Path(root, name) for name in folders if is_hidden(name)]
        folders[:] = [name for name in folders if not is_hidden(name)]
        for path in (Path(root, name) for name in files):
            if is_hidden(path.name):
                skipped["hidden"].append(path)
            elif path.suffix.lower() not in SUFFIXES:
                skipped[path.suffix.lower() or "without a suffix"].append(path)
            elif not path.is_file():
                raise PackError(f"cannot read image '{path}': there is no file behind it; remove it")
            else:
                images.append(path)
    return sorted(images, key=lambda path: (str(path.parent), path.name))


def list_images(folder: Path, names: list[str], found: list[str], named: bool,
                skipped: Skipped) -> list[tuple[Path, int]]:
    """Files and labels, in turn over the classes. named: by the user, who may name classes without images."""
    there = set(found)
    per_class = [class_images(folder / name, skipped) if name in there else [] for name in names]
    known = f"known are {', '.join(sorted(SUFFIXES))}"
    empty = [name for name, files in zip(names, per_class) if not files]
    if len(empty) == len(names):
        raise PackError(f"cannot pack '{folder}': its folders hold no images; {known}")
    if empty and not named:
        raise PackError(f"cannot pack '{folder}': its folder '{empty[0]}' holds no images ({known}), but would be "
                        f"class {names.index(empty[0])}; move it away, or list all classes in a file for --classes")
    if empty:
        report(f"{len(empty)} of {len(names)} classes have no images, first '{empty[0]}'")
    labelled = [[(path, label) for path in files] for label, files in enumerate(per_class)]
    return [image for turn in zip_longest(*labelled) for image in turn if image is not None]


def decode(path: Path, resize: int, crop: int, interpolation: str) -> np.ndarray | str:
    """One image as uint8 (h, w, 3), or why it cannot be used."""
    try:
        with Image.open(path) as file:
            if file.mode.startswith(("I", "F")):
                return (f"cannot use image '{path}': it has more than 8 bits per channel (mode {file.mode}), and all "
                        "above 255 would become white; save it with 8 bits")
            image = file.convert("RGB")
    except Exception as error:  # a damaged file can be anything to the decoder that believes it
        return f"cannot read image '{path}': {error or type(error).__name__}; replace or remove it"
    if resize and min(image.size) != resize:
        short, long = min(image.size), max(image.size)
        other = int(resize * long / short)
        if resize * other > Image.MAX_IMAGE_PIXELS:
            return (f"cannot resize image '{path}': {image.width} x {image.height} would become {resize} x {other} or "
                    f"so, more than {Image.MAX_IMAGE_PIXELS} pixels; crop it first")
        size = (resize, other) if image.width <= image.height else (other, resize)
        image = image.resize(size, INTERPOLATIONS[interpolation])
    if crop:
        if min(image.size) < crop:
            return (f"cannot crop image '{path}': it is {image.width} x {image.height}, the crop is {crop}; "
                    "resize to at least that, or lower --crop")
        left, top = int(round((image.width - crop) / 2)), int(round((image.height - crop) / 2))
        image = image.crop((left, top, left + crop, top + crop))
    return np.asarray(image)


def write_images(path: Path, images: list[tuple[Path, int]], names: list[str],
                 arguments: argparse.Namespace) -> None:
    """Decodes in parallel and writes in order."""
    work = partial(decode, resize=arguments.resize, crop=arguments.crop, interpolation=arguments.interpolation)
    with multiprocessing.Pool(arguments.processes) as pool, h5py.File(path, "w", libver="v110") as file:
        stored, printed = None, time.monotonic()
        for index, pixels in enumerate(pool.imap(work, [image for image, _ in images], chunksize=8)):
            source = images[index][0]
            if isinstance(pixels, str):
                raise PackError(pixels)
            if stored is None:
                stored = file.create_dataset("images", (len(images), *pixels.shape), np.uint8,
                                             chunks=(1, *pixels.shape), fletcher32=True)
            if pixels.shape != stored.shape[1:]:
                raise PackError(f"cannot pack image '{source}': it is {pixels.shape[1]} x {pixels.shape[0]}, those "
                                f"before it are {stored.shape[2]} x {stored.shape[1]}; use --resize and --crop")
            stored[index] = pixels
            if time.monotonic() - printed > 2 or index + 1 == len(images):
                printed = time.monotonic()
                print(f"{index + 1} of {len(images)} images", file=sys.stderr)
        stored.attrs["unit"] = np.bytes_("1")
        stored.attrs["description"] = np.bytes_("pixels, RGB, (image, row, column, channel)")
        labels = file.create_dataset("labels", data=np.array([label for _, label in images], np.int32))
        labels.attrs["unit"] = np.bytes_("1")
        labels.attrs["description"] = np.bytes_("class of every image: index into classes")
        file.create_dataset("classes", data=np.array([os.fsencode(name) for name in names]))
        for name in ("resize", "crop", "interpolation"):
            value = getattr(arguments, name)
            file.attrs[name] = np.bytes_(value) if isinstance(value, str) else value
        file.flush()


def report(text: str) -> None:
    """A line on stderr; file names may hold what a terminal would obey."""
    line = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    print(f"pack_images.py: {line}", file=sys.stderr, flush=True)


def pack(arguments: argparse.Namespace) -> str:
    """Packs the folder; returns how much. The output's name never holds a partial file."""
    skipped: Skipped = defaultdict(list)
    folder, classes, output = arguments.folder, arguments.classes, arguments.output
    found = class_folders(folder, skipped)
    names = read_classes(classes, folder, found) if classes else found
    images = list_images(folder, names, found, classes is not None, skipped)
    for kind, paths in sorted(skipped.items()):
        if paths:
            report(f"not packed: {len(paths)} {kind}, first '{paths[0]}'")
    if arguments.limit > len(images):
        raise PackError(f"cannot pack {arguments.limit} images: '{folder}' has {len(images)}; lower --limit")
    if arguments.limit:
        images = images[:arguments.limit]
    if not output.absolute().parent.is_dir() or (output.exists() and not output.is_file()):
        raise PackError(f"cannot write '{output}': its folder does not exist or it is no regular file; "
                        "choose another output file")
    output = output.resolve()  # what a link leads to is replaced, not the link
    inputs = [path for path, _ in images if path.name == output.name] + ([classes] if classes else [])
    if output.exists() and any(path.samefile(output) for path in inputs):
        raise PackError(f"cannot write '{output}': it is one of the inputs; choose another output file")
    temporary = output.with_name(f"{output.name}.{os.getpid()}.partial")
    try:
        write_images(temporary, images, names, arguments)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(output)
    except (OSError, RuntimeError) as error:  # h5py gives RuntimeError where closing fails
        raise PackError(f"cannot write '{output}': {error}; free some space or choose another output "
                        "file") from error
    finally:
        temporary.unlink(missing_ok=True)
    return f"{len(images)} images of {len(names)} classes"


def _whole_number(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("a negative number makes no sense here")
    return value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with one folder of images per class")
    parser.add_argument("output", type=Path, help="HDF5 file to write")
    parser.add_argument("--classes", type=Path, help="file with the class order: each line begins with a folder's name")
    parser.add_argument("--resize", type=_whole_number, default=256, metavar="SHORT_SIDE",
                        help="short side before cropping (default 256; 0: leave the size)")
    parser.add_argument("--crop", type=_whole_number, default=224, metavar="SIZE",
                        help="side of the square cut from the centre (default 224; 0: no crop)")
    parser.add_argument("--interpolation", choices=sorted(INTERPOLATIONS), default="bilinear",
                        help="both with antialiasing (default bilinear)")
    parser.add_argument("--limit", type=_whole_number, default=0, help="pack only so many images (default all)")
    parser.add_argument("--processes", type=_whole_number, default=None, help="default: one per CPU")
    arguments = parser.parse_args()
    arguments.processes = arguments.processes or len(os.sched_getaffinity(0))
    try:
        packed = pack(arguments)
    except PackError as error:
        report(str(error))
        os._exit(1)  # HDF5 crashes in its own clean-up after a full disk; nothing else is left to do
    print(f"{arguments.output}: {packed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
