#!/usr/bin/python3
"""Packs a folder of images, one sub-folder per class, into one HDF5 file that bitcluster reads (format "packed").

    analysis/pack_images.py imagenet/val val.h5 --classes synsets.txt --resize 256 --crop 224

Images: uint8 (n, crop, crop, 3), RGB, one chunk with a checksum each; labels: int32 (n). The classes are numbered in the
order of the sorted folder names, or of the lines of --classes (first word of each line: the folder). Images are stored
in turn over the classes (the first of every class, then the second of every class, ...), so that any first part of the
file has all classes alike. Resizing and cropping follow torchvision's Resize and CenterCrop.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from functools import partial
from itertools import zip_longest
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

SUFFIXES = {".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class PackError(Exception):
    """Input that cannot be packed; the message says why and what to do."""


def class_names(folder: Path, classes: Path | None) -> list[str]:
    """Folder names in class order."""
    if not folder.is_dir():
        raise PackError(f"cannot read '{folder}': there is no such folder; give a folder with one folder per class")
    found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if not found:
        raise PackError(f"cannot read '{folder}': it holds no folders; give a folder with one folder per class")
    if classes is None:
        return found
    try:
        names = [line.split()[0] for line in classes.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise PackError(f"cannot read '{classes}': {error.strerror}; check the path") from error
    if len(set(names)) != len(names):
        raise PackError(f"cannot use '{classes}': a class stands there twice; remove one")
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise PackError(f"cannot use '{classes}': it does not name the folder '{unknown[0]}' of '{folder}'; "
                        "add it or move the folder away")
    return names


def list_images(folder: Path, names: list[str]) -> list[tuple[Path, int]]:
    """Files and labels, in turn over the classes."""
    per_class = []
    for label, name in enumerate(names):
        entries = (folder / name).iterdir() if (folder / name).is_dir() else []
        per_class.append([(path, label) for path in sorted(entries) if path.suffix.lower() in SUFFIXES])
    images = [image for turn in zip_longest(*per_class) for image in turn if image is not None]
    if not images:
        raise PackError(f"cannot pack '{folder}': its folders hold no images; known are {', '.join(sorted(SUFFIXES))}")
    return images


def decode(path: Path, resize: int, crop: int, interpolation: str) -> np.ndarray | str:
    """One image as uint8 (h, w, 3), or why it cannot be used."""
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"cannot read image '{path}': {error}; replace or remove it"
    if resize and min(image.size) != resize:
        short, long = min(image.size), max(image.size)
        other = int(resize * long / short)
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
        file.create_dataset("classes", data=np.array([name.encode() for name in names]))
        for name in ("resize", "crop", "interpolation"):
            value = getattr(arguments, name)
            file.attrs[name] = np.bytes_(value) if isinstance(value, str) else value
        file.flush()


def pack(arguments: argparse.Namespace) -> int:
    """Packs the folder; returns how many images. The output's name never holds a partial file."""
    names = class_names(arguments.folder, arguments.classes)
    images = list_images(arguments.folder, names)
    if arguments.limit:
        images = images[:arguments.limit]
    output = arguments.output.resolve()  # behind symbolic links, which stay
    if output.exists() and not output.is_file():
        raise PackError(f"cannot write '{arguments.output}': it is a folder, a device or a FIFO; choose another output file")
    if not output.parent.is_dir():
        raise PackError(f"cannot write '{arguments.output}': its folder does not exist; choose another output file")
    inputs = [image for image, _ in images] + ([arguments.classes] if arguments.classes else [])
    if output.exists() and any(output.samefile(path) for path in inputs):
        raise PackError(f"cannot write '{arguments.output}': it is an input; choose another output file")
    temporary = output.with_name(f"{output.name}.{os.getpid()}.partial")
    try:
        write_images(temporary, images, names, arguments)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(output)
    except (OSError, RuntimeError) as error:  # h5py gives RuntimeError where closing fails
        raise PackError(f"cannot write '{arguments.output}': {error}; free some space or choose another output "
                        "file") from error
    finally:
        temporary.unlink(missing_ok=True)
    return len(images)


def _whole_number(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("a negative number makes no sense here")
    return value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with one folder of images per class")
    parser.add_argument("output", type=Path, help="HDF5 file to write")
    parser.add_argument("--classes", type=Path, help="class order: first word of each line is the folder's name")
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
        count = pack(arguments)
    except PackError as error:
        print(f"pack_images.py: {error}", file=sys.stderr, flush=True)
        os._exit(1)  # HDF5 crashes in its own clean-up after a full disk; nothing else is left to do
    print(f"{arguments.output}: {count} images")
    return 0


if __name__ == "__main__":
    sys.exit(main())
