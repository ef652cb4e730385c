#!/usr/bin/env python3
"""Trains the six small networks of the default study on Fashion-MNIST and exports them as ONNX (configs/models/).

They are of the families that the paper evaluates, with their real block types and layer counts, narrow enough for 28 x 28
images: AlexNet, VGG-16, GoogLeNet, ResNet-18, ResNet-50, MobileNetV2. Everything is seeded.

Splits of the 60,000 training images: [0, 50000) trains, [50000, 55000) is the product's search split and is not touched here,
[55000, 60000) validates. The test images are measured once, after training, and decide nothing.
"""

import argparse
import gzip
import time
from pathlib import Path

import numpy
import torch
from torch import nn

DATA = Path("/usr/share/datasets/fashion-mnist")
MEAN, STD = 0.2860, 0.3530


def conv(inputs, outputs, kernel=3, stride=1, groups=1, activation=nn.ReLU):
    """Convolution, batch normalization and activation."""
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)]
    if activation:
        layers.append(activation(inplace=True))
    return nn.Sequential(*layers)


def alexnet():
    """Five convolutions without batch normalization, three fully connected layers (Krizhevsky 2012)."""

    def plain(inputs, outputs, kernel):
        return [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.ReLU(inplace=True)]

    return nn.Sequential(
        *plain(1, 16, 5), nn.MaxPool2d(2),
        *plain(16, 40, 5), nn.MaxPool2d(2),
        *plain(40, 64, 3), *plain(64, 64, 3), *plain(64, 48, 3), nn.MaxPool2d(3, 2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(48 * 9, 128), nn.ReLU(inplace=True),
        nn.Dropout(0.3), nn.Linear(128, 128), nn.ReLU(inplace=True), nn.Linear(128, 10),
    )  # fmt: skip


def vgg16():
    """Thirteen 3 x 3 convolutions in five stages, three fully connected layers (configuration D with batch norm)."""
    layers, inputs = [], 1
    for width, depth in ((16, 2), (24, 2), (48, 3), (64, 3), (64, 3)):
        for _ in range(depth):
            layers.append(conv(inputs, width))
            inputs = width
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    layers += [nn.Flatten(), nn.Linear(64, 128), nn.ReLU(inplace=True), nn.Dropout(0.2), nn.Linear(128, 128)]
    layers += [nn.ReLU(inplace=True), nn.Dropout(0.2), nn.Linear(128, 10)]
    return nn.Sequential(*layers)


class Inception(nn.Module):
    """Four branches, concatenated (Szegedy 2015; the second reduced branch is 3 x 3 as in torchvision)."""

    def __init__(self, inputs, one, reduce3, three, reduce5, five, project):
        super().__init__()
        self.one = conv(inputs, one, 1)
        self.three = nn.Sequential(conv(inputs, reduce3, 1), conv(reduce3, three))
        self.five = nn.Sequential(conv(inputs, reduce5, 1), conv(reduce5, five))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(inputs, project, 1))

    def forward(self, x):
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


def googlenet():
    """Nine inception modules behind three convolutions."""
    pool = nn.MaxPool2d(2, ceil_mode=True)
    return nn.Sequential(
        conv(1, 16), pool, conv(16, 16, 1), conv(16, 32),
        Inception(32, 16, 16, 24, 8, 8, 8), Inception(56, 16, 16, 32, 8, 16, 8), pool,
        Inception(72, 24, 16, 32, 8, 16, 8), Inception(80, 24, 16, 32, 8, 16, 8), Inception(80, 24, 16, 32, 8, 16, 8),
        Inception(80, 24, 16, 32, 8, 16, 8), Inception(80, 32, 24, 48, 8, 16, 16), pool,
        Inception(112, 32, 24, 48, 8, 16, 16), Inception(112, 48, 24, 56, 8, 16, 16),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(136, 10),
    )  # fmt: skip


class Residual(nn.Module):
    """A body with a shortcut (He 2016); relu=False for the linear bottleneck of MobileNetV2 (Sandler 2018)."""

    def __init__(self, body, inputs, outputs, stride, relu=True):
        super().__init__()
        self.body = body
        self.shortcut = nn.Identity()
        if inputs != outputs or stride != 1:
            self.shortcut = conv(inputs, outputs, 1, stride, activation=None)
        self.relu = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, x):
        return self.relu(self.body(x) + self.shortcut(x))


def resnet(stem, stages, bottleneck):
    """stages: (width, blocks); each but the first halves the map."""
    layers, inputs = [conv(1, stem), nn.MaxPool2d(2)], stem
    for number, (width, blocks) in enumerate(stages):
        for block in range(blocks):
            stride = 2 if number > 0 and block == 0 else 1
            if bottleneck:
                outputs = 4 * width
                body = nn.Sequential(
                    conv(inputs, width, 1), conv(width, width, 3, stride), conv(width, outputs, 1, activation=None)
                )
            else:
                outputs = width
                body = nn.Sequential(conv(inputs, width, 3, stride), conv(width, width, activation=None))
            layers.append(Residual(body, inputs, outputs, stride))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


def resnet18():
    """Two basic blocks in each of four stages."""
    return resnet(16, ((24, 2), (32, 2), (64, 2), (96, 2)), bottleneck=False)


def resnet50():
    """Bottleneck blocks 3-4-6-3."""
    return resnet(16, ((16, 3), (24, 4), (32, 6), (48, 3)), bottleneck=True)


def mobilenet_v2():
    """Inverted residuals with depthwise convolutions and ReLU6: (expansion, width, blocks, stride)."""
    layers, inputs = [conv(1, 16, activation=nn.ReLU6)], 16
    for expansion, width, blocks, stride in (
        (1, 8, 1, 1), (6, 16, 2, 2), (6, 24, 3, 2), (6, 32, 4, 2), (6, 48, 3, 1), (6, 64, 3, 2), (6, 96, 1, 1),
    ):  # fmt: skip
        for block in range(blocks):
            step, hidden = stride if block == 0 else 1, inputs * expansion
            body = [conv(inputs, hidden, 1, activation=nn.ReLU6)] if expansion > 1 else []
            body += [conv(hidden, hidden, 3, step, hidden, nn.ReLU6), conv(hidden, width, 1, activation=None)]
            body = nn.Sequential(*body)
            layers.append(Residual(body, inputs, width, step, relu=False) if inputs == width and step == 1 else body)
            inputs = width
    layers += [conv(inputs, 192, 1, activation=nn.ReLU6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(192, 10)]
    return nn.Sequential(*layers)


# Epochs and peak learning rate. AlexNet has no batch normalization and needs smaller steps.
RECIPES = {
    "alexnet": (20, 2e-3), "vgg16": (10, 6e-3), "googlenet": (10, 6e-3),
    "resnet18": (10, 6e-3), "resnet50": (10, 6e-3), "mobilenet_v2": (10, 6e-3),
}  # fmt: skip
MODELS = {f.__name__: f for f in (alexnet, vgg16, googlenet, resnet18, resnet50, mobilenet_v2)}


def read_idx(part):
    """Images (n, 1, 28, 28) as preprocessed floats, and labels (n)."""
    with gzip.open(DATA / f"{part}-images-idx3-ubyte.gz") as file:
        pixels = numpy.frombuffer(file.read(), numpy.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(DATA / f"{part}-labels-idx1-ubyte.gz") as file:
        labels = numpy.frombuffer(file.read(), numpy.uint8, offset=8).astype(numpy.int64)
    return (torch.from_numpy(pixels.copy()).float() / 255 - MEAN) / STD, torch.from_numpy(labels)


def augment(images, generator):
    """Random shift by up to two pixels (the same for an eighth of the batch) and random horizontal flip."""
    padded = nn.functional.pad(images, (2, 2, 2, 2), value=-MEAN / STD)
    parts = []
    for part in padded.chunk(8):
        y, x = torch.randint(0, 5, (2,), generator=generator).tolist()
        parts.append(part[:, :, y : y + 28, x : x + 28])
    shifted = torch.cat(parts)
    flip = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(flip[:, None, None, None], shifted.flip(3), shifted)


@torch.no_grad()
def accuracy(model, images, labels):
    """Fraction of images whose label has the highest logit."""
    model.eval()
    hits = sum(int((model(i).argmax(1) == l).sum()) for i, l in zip(images.split(500), labels.split(500)))
    return hits / len(labels)


def train(name, options, data):
    """Trains one network."""
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    (images, labels), (valid_images, valid_labels) = data
    # channels_last is several times faster for depthwise and 1 x 1 convolutions on a CPU
    epochs, rate = options.epochs or RECIPES[name][0], options.rate or RECIPES[name][1]
    model = MODELS[name]().to(memory_format=torch.channels_last)
    batches = len(images) // options.batch
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=options.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, epochs * batches, pct_start=0.2)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    started = time.time()
    for epoch in range(1, epochs + 1):
        model.train()
        order, total = torch.randperm(len(images), generator=generator), 0.0
        for batch in order[: batches * options.batch].view(batches, options.batch):
            optimizer.zero_grad(set_to_none=True)
            inputs = augment(images[batch], generator).contiguous(memory_format=torch.channels_last)
            loss = loss_of(model(inputs), labels[batch])
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss)
        seconds = time.time() - started
        print(
            f"{name}: epoch {epoch} of {epochs}, loss {total / batches:.4f}, "
            f"validation {100 * accuracy(model, valid_images, valid_labels):.2f} %, {seconds:.0f} s, "
            f"about {seconds / epoch * (epochs - epoch):.0f} s left",
            flush=True,
        )
    return model.eval()


def export(model, path):
    """Writes ONNX opset 13 with a dynamic batch, without source positions."""
    temporary = path.with_suffix(".tmp")
    torch.onnx.export(
        model, torch.zeros(1, 1, 28, 28), str(temporary), opset_version=13, input_names=["input"], output_names=["logits"],
        dynamic_axes={"input": {0: "n"}, "logits": {0: "n"}},
    )  # fmt: skip
    import onnx

    content = onnx.load(str(temporary))
    for node in content.graph.node:
        node.doc_string = ""
    onnx.save(content, str(temporary))
    temporary.rename(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", choices=list(MODELS), help="repeatable; default: all six")
    parser.add_argument("--epochs", type=int, help="default: by model")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rate", type=float, help="peak learning rate (default: by model)")
    parser.add_argument("--decay", type=float, default=2e-2, help="weight decay")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=int, default=50000, help="training images, for a quick trial")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "configs" / "models")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    options.out.mkdir(parents=True, exist_ok=True)

    images, labels = read_idx("train")
    limit = min(options.limit, 50000)
    data = (images[:limit], labels[:limit]), (images[55000:], labels[55000:])
    test_images, test_labels = read_idx("t10k")
    for name in options.model or MODELS:
        model = train(name, options, data)
        export(model, options.out / f"{name}.onnx")
        parameters = sum(p.numel() for p in model.parameters())
        print(
            f"{name}: {parameters} parameters, validation {100 * accuracy(model, *data[1]):.2f} %, "
            f"test {100 * accuracy(model, test_images, test_labels):.2f} %",
            flush=True,
        )


if __name__ == "__main__":
    main()
