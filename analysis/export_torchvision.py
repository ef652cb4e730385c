#!/usr/bin/env python3
"""Exports torchvision's AlexNet, VGG-16, GoogLeNet, ResNet-18, ResNet-50 and MobileNetV2 as ONNX (opset 13).

Weights: torchvision's ImageNet ones, downloaded (default), a state dictionary (--weights), or random (--random).
Input: RGB, x / 255, then mean 0.485 0.456 0.406 and std 0.229 0.224 0.225; for GoogLeNet mean and std are 0.5, because
its weights were trained that way and torchvision's own conversion inside the network is left out.
"""

import argparse
import sys
from pathlib import Path

import torch
import torchvision

NAMES = ("alexnet", "vgg16", "googlenet", "resnet18", "resnet50", "mobilenet_v2")


def build(name):
    """The network without its training-only parts, weights as torchvision initialises them."""
    options = {"aux_logits": False, "transform_input": False, "init_weights": False} if name == "googlenet" else {}
    return getattr(torchvision.models, name)(weights=None, **options)


def random_network(name, seed):
    """Random weights that keep the signal alive through all layers, and random batch normalization, so that it acts."""
    torch.manual_seed(seed)
    network = build(name)
    for module in network.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            torch.nn.init.kaiming_normal_(module.weight)
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
    return network.eval()


def downloaded(url):
    """Path of a file that torchvision has on its server, in torch's cache."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rsplit("-", 1)[1])
    return path


def load_state(path):
    """A state dictionary, names and tensors. Nothing else is unpickled: that would run what the file's maker wants."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except TypeError as error:
        raise RuntimeError(f"PyTorch {torch.__version__} cannot load weights alone; use 1.13 or later") from error
    except OSError:
        raise
    except Exception as error:  # whatever a file that is something else makes of the unpickler
        raise RuntimeError(f"'{path}' is damaged or holds more than a state dictionary, which would run as code; write "
                           "torch.save(network.state_dict(), FILE)") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise RuntimeError(f"'{path}' is no state dictionary, names and tensors; write "
                           "torch.save(network.state_dict(), FILE)")
    return state


def trained_network(name, weights):
    """weights: path of a state dictionary, or None for torchvision's IMAGENET1K_V1."""
    state = load_state(weights or downloaded(torchvision.models.get_weight(f"{weights_class(name)}.IMAGENET1K_V1").url))
    network = build(name)
    # GoogLeNet's files hold the auxiliary classifiers too, which only training uses
    network.load_state_dict({key: value for key, value in state.items() if not key.startswith(("aux1.", "aux2."))})
    return network.eval()


def weights_class(name):
    """torchvision's name of the weights of one network."""
    classes = {"alexnet": "AlexNet", "vgg16": "VGG16", "googlenet": "GoogLeNet", "resnet18": "ResNet18"}
    classes |= {"resnet50": "ResNet50", "mobilenet_v2": "MobileNet_V2"}
    return classes[name] + "_Weights"


def export(network, path, side=224, keep_batch_norm=False):
    """Writes ONNX with a dynamic batch. keep_batch_norm leaves batch normalization as nodes of its own."""
    path = Path(path)
    temporary = path.with_suffix(".tmp")
    # only TrainingMode.EVAL fuses batch normalization; PRESERVE keeps the network's own mode, which is eval as well
    mode = torch.onnx.TrainingMode.PRESERVE if keep_batch_norm else torch.onnx.TrainingMode.EVAL
    try:
        torch.onnx.export(
            network, torch.zeros(1, 3, side, side), str(temporary), opset_version=13, training=mode,
            do_constant_folding=not keep_batch_norm, input_names=["input"], output_names=["logits"],
            dynamic_axes={"input": {0: "n"}, "logits": {0: "n"}},
        )  # fmt: skip
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", choices=NAMES, help="repeatable; default: all six")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--weights", type=Path, help="state dictionary (.pth) of the one --model")
    source.add_argument("--random", type=int, metavar="SEED", help="random weights")
    parser.add_argument("--keep-batch-norm", action="store_true", help="leave batch normalization as nodes of its own")
    parser.add_argument("--side", type=int, default=224, help="height and width of the input")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder")
    options = parser.parse_args()
    if options.weights and len(options.model or NAMES) != 1:
        parser.error("--weights is for one network: name it with --model")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.model or NAMES:
        try:
            if options.random is not None:
                network = random_network(name, options.random)
            else:
                network = trained_network(name, options.weights)
        except (OSError, RuntimeError) as error:
            sys.exit(f"{name}: no weights: {error}; check the network, or give --weights FILE.pth or --random SEED")
        path = options.out / f"{name}.onnx"
        export(network, path, options.side, options.keep_batch_norm)
        print(f"{path}: {sum(p.numel() for p in network.parameters())} parameters")


if __name__ == "__main__":
    main()
