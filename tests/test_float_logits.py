"""Float32 logits equal PyTorch's: torchvision's six networks, the networks of the shared folder, the default ones.

Tolerance: both sides sum the same float32 products in another order, which moves a logit by a few 1e-6 of the largest
one in the deepest of these networks (batch normalization folded beside not folded in PyTorch itself: 2e-6); 1e-4 leaves
room for longer sums and is far below what a wrong pad, stride or batch normalization changes.
"""

import gzip
import subprocess

import numpy
import pytest

from conftest import BUILD, ROOT

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed")
pytest.importorskip("onnx", reason="python3-onnx is not installed")

import export_torchvision
import torch_onnx

TOLERANCE = 1e-4  # largest difference over largest logit, for every image
IMAGES = 64
FASHION = "/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz"


def random_images(shape, count=IMAGES):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


def cifar_images(shared):
    """CIFAR-10 test images, as the shared networks want them."""
    records = numpy.fromfile(shared / "data/cifar10/test_batch.bin", numpy.uint8, IMAGES * 3073).reshape(IMAGES, 3073)
    images = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32)).float() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)


def photographs(shared, name, side):
    """Centre crops of ImageNet photographs, preprocessed as the shared folder's README says."""
    image = pytest.importorskip("PIL.Image", reason="python3-pil is not installed")
    crops = []
    for path in sorted((shared / "data/imagenet_samples/val").glob("*/*.JPEG"))[:IMAGES]:
        photograph = image.open(path).convert("RGB")
        left, top = (photograph.width - side) // 2, (photograph.height - side) // 2
        crops.append(numpy.asarray(photograph.crop((left, top, left + side, top + side)), numpy.float32))
    pixels = torch.from_numpy(numpy.stack(crops)).permute(0, 3, 1, 2)
    if name.startswith("squeezenet"):
        return pixels.flip(1) - torch.tensor([104.0, 117.0, 123.0]).view(3, 1, 1)
    return pixels / 127.5 - 1


def our_logits(path, images, tmp_path):
    program = BUILD / "tests" / "print_logits"
    if not program.exists():
        pytest.skip(f"{program} is not built")
    images.permute(0, 2, 3, 1).contiguous().numpy().tofile(tmp_path / "images.f32")
    arguments = [program, path, tmp_path / "images.f32", str(len(images)), tmp_path / "logits.f32"]
    process = subprocess.run(arguments, capture_output=True, text=True, timeout=600)
    assert process.returncode == 0, process.stderr
    return torch.from_numpy(numpy.fromfile(tmp_path / "logits.f32", numpy.float32)).reshape(len(images), -1)


@torch.no_grad()
def check(network, path, images, tmp_path):
    """network: what PyTorch runs; path: the ONNX file that our side runs."""
    ours = our_logits(path, images, tmp_path)
    expected = torch.cat([network(part).flatten(1) for part in images.split(16)])
    largest = expected.abs().amax(1)
    difference = ((ours - expected).abs().amax(1) / largest).max()
    assert difference <= TOLERANCE
    # logits that hardly depend on the image would agree whatever happens before the last layer
    assert (expected[0] - expected[-1]).abs().max() > 100 * TOLERANCE * largest.max()


def without_average_pool(network, features):
    """AlexNet or VGG-16 for smaller images: their adaptive pool has no ONNX form there, so the classifier shrinks."""
    network.avgpool = torch.nn.Identity()
    first = next(i for i, layer in enumerate(network.classifier) if isinstance(layer, torch.nn.Linear))
    torch.manual_seed(2)
    network.classifier[first] = torch.nn.Linear(features, network.classifier[first].out_features)
    return network


@pytest.mark.parametrize("name, side, features", [("alexnet", 96, 256 * 4), ("vgg16", 32, 512)])
def test_torchvision_plain(name, side, features, tmp_path):
    network = without_average_pool(export_torchvision.random_network(name, seed=1), features)
    export_torchvision.export(network, tmp_path / "network.onnx", side, keep_batch_norm=True)
    check(network, tmp_path / "network.onnx", random_images((3, side, side)), tmp_path)


# Two images: VGG-16 alone takes 15.5 G multiply-accumulates for each
@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_torchvision_full_size(name, tmp_path):
    network = export_torchvision.random_network(name, seed=1)
    export_torchvision.export(network, tmp_path / "network.onnx", 224, keep_batch_norm=True)
    check(network, tmp_path / "network.onnx", random_images((3, 224, 224), 2), tmp_path)


@pytest.mark.parametrize("name, side", [("googlenet", 96), ("resnet18", 64), ("resnet50", 64), ("mobilenet_v2", 96)])
def test_torchvision_batch_norm(name, side, tmp_path):
    network = export_torchvision.random_network(name, seed=1)
    export_torchvision.export(network, tmp_path / "network.onnx", side, keep_batch_norm=True)
    operators = [node.op_type for node in torch_onnx.onnx.load(str(tmp_path / "network.onnx")).graph.node]
    assert "BatchNormalization" in operators  # the exporter left it for us to fold
    check(network, tmp_path / "network.onnx", random_images((3, side, side)), tmp_path)


def test_convnext(tmp_path):
    """Normalization over channels, GELU and matrices on channels, as the exporter writes them operator by operator."""
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    torch.manual_seed(1)
    blocks = [CNBlockConfig(16, 32, 2), CNBlockConfig(32, None, 2)]
    network = ConvNeXt(blocks, num_classes=10, layer_scale=0.5).eval()
    for module in network.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            torch.nn.init.kaiming_normal_(module.weight)
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
    export_torchvision.export(network, tmp_path / "network.onnx", 32)
    operators = [node.op_type for node in torch_onnx.onnx.load(str(tmp_path / "network.onnx")).graph.node]
    assert "Sqrt" in operators and "Erf" in operators
    check(network, tmp_path / "network.onnx", random_images((3, 32, 32)), tmp_path)


# of the families of operators that the six do not have: hard swish and squeeze-excite, channel shuffle
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_torchvision_others(name, tmp_path):
    torch.manual_seed(1)
    network = getattr(export_torchvision.torchvision.models, name)(weights=None).eval()
    for module in network.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            torch.nn.init.kaiming_normal_(module.weight)
    export_torchvision.export(network, tmp_path / "network.onnx", 64, keep_batch_norm=True)
    check(network, tmp_path / "network.onnx", random_images((3, 64, 64), 8), tmp_path)


@pytest.mark.parametrize("name", ["resnet20", "resnet56"])
def test_shared_cifar(name, shared, tmp_path):
    path = shared / "models" / "cifar10" / f"{name}.onnx"
    check(torch_onnx.OnnxNetwork(path), path, cifar_images(shared), tmp_path)


@pytest.mark.parametrize("name, side", [("mobilenet_v1_0.75_224", 224), ("squeezenet1_1_227", 227)])
def test_shared_imagenet(name, side, shared, tmp_path):
    path = shared / "models" / "imagenet" / f"{name}.onnx"
    check(torch_onnx.OnnxNetwork(path), path, photographs(shared, name, side), tmp_path)


@pytest.mark.parametrize("name", export_torchvision.NAMES)
def test_default_models(name, tmp_path):
    path = ROOT / "configs" / "models" / f"{name}.onnx"
    try:
        with gzip.open(FASHION) as file:
            pixels = numpy.frombuffer(file.read(16 + IMAGES * 784), numpy.uint8, offset=16)
        images = (torch.from_numpy(pixels.copy()).reshape(-1, 1, 28, 28).float() / 255 - 0.2860) / 0.3530
    except FileNotFoundError:
        images = random_images((1, 28, 28))
    check(torch_onnx.OnnxNetwork(path), path, images, tmp_path)


class FakeQuantized(torch.nn.Module):
    """Quantization-aware training as PyTorch exports it; the quantizers' saturation is the only nonlinearity."""

    #: scale, zero point, lowest and highest integer: 8 bits, and 7 bits, for which the exporter adds a Clip of integers
    QUANTIZERS = [(0.004, 0, 0, 255), (0.004, 60, 0, 127), (0.02, -128, -128, 127)]

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 8, 3, stride=2, groups=2)
        self.last = torch.nn.Linear(8 * 9, 10)
        for layer in (self.first, self.second, self.last):
            layer.register_buffer("scales", layer.weight.detach().abs().flatten(1).amax(1) / 127)
            layer.register_buffer("zeros", torch.zeros(len(layer.weight), dtype=torch.int32))

    def layer(self, function, x, weighted, quantizer, **options):
        weight = torch.fake_quantize_per_channel_affine(weighted.weight, weighted.scales, weighted.zeros, 0, -128, 127)
        return torch.fake_quantize_per_tensor_affine(function(x, weight, weighted.bias, **options), *quantizer)

    def forward(self, x):
        first, second, last = self.QUANTIZERS
        x = self.layer(torch.nn.functional.conv2d, x, self.first, first, padding=1)
        x = self.layer(torch.nn.functional.conv2d, x, self.second, second, stride=2, groups=2)
        return self.layer(torch.nn.functional.linear, x.flatten(1), self.last, last)

    def bound(self):
        """What rounding to the grids can change in a logit: half a step each, times the sums of weights behind it."""
        deviation = 0
        for weighted, (scale, *_) in zip((self.first, self.second, self.last), self.QUANTIZERS):
            deviation = deviation * weighted.weight.abs().flatten(1).sum(1).max() * 1.01 + scale / 2
        return float(deviation)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
def test_quantizers_saturate(tmp_path):
    network, images = FakeQuantized().eval(), random_images((3, 8, 8))
    torch.onnx.export(network, images[:1], str(tmp_path / "network.onnx"), opset_version=13)
    nodes = torch_onnx.onnx.load(str(tmp_path / "network.onnx")).graph.node
    assert {"QuantizeLinear", "DequantizeLinear", "Clip"} <= {node.op_type for node in nodes}
    expected = network(images)
    assert (our_logits(tmp_path / "network.onnx", images, tmp_path) - expected).abs().max() <= network.bound()
    # without saturation they would be elsewhere
    plain = network.last(network.second(network.first(images)).flatten(1))
    assert (plain - expected).abs().max() > 3 * network.bound()


class Residual(torch.nn.Module):
    """What quantizes at every layer: convolutions, pools, a sum, a concatenation, a fully connected layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.quantize, self.dequantize = torch.quantization.QuantStub(), torch.quantization.DeQuantStub()
        self.first, self.relu = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU()
        self.second, self.last = torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.Linear(16, 10)
        self.sum, self.concatenation = torch.nn.quantized.FloatFunctional(), torch.nn.quantized.FloatFunctional()

    def forward(self, x):
        x = torch.nn.functional.max_pool2d(self.relu(self.first(self.quantize(x))), 2)
        x = self.concatenation.cat([x, self.sum.add(self.second(x), x)], 1)
        return self.dequantize(self.last(torch.flatten(torch.nn.functional.adaptive_avg_pool2d(x, 1), 1)))


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
def test_quantized_by_pytorch(tmp_path, monkeypatch):
    if "qnnpack" not in torch.backends.quantized.supported_engines:
        pytest.skip("this PyTorch has no engine for quantized networks that we know")
    monkeypatch.setattr(torch.backends.quantized, "engine", "qnnpack")
    network, images = Residual().eval(), random_images((3, 8, 8))
    network.qconfig = torch.quantization.get_default_qconfig("qnnpack")
    network = torch.quantization.prepare(torch.quantization.fuse_modules(network, [["first", "relu"]]))
    network(images[:32])
    network = torch.quantization.convert(network)
    torch.onnx.export(network, images[:1], str(tmp_path / "network.onnx"), opset_version=13)
    expected, ours = network(images), our_logits(tmp_path / "network.onnx", images, tmp_path)
    # a step of the last tensor for itself, and as much again for what six tensors before it were rounded
    assert (ours - expected).abs().max() <= 2 * network.last.scale
    assert expected.abs().max() > 50 * network.last.scale
