"""Results belong to the files that they were made from: checksums in /provenance/inputs, compared wherever results are used again."""

import gzip
import os
import shutil
import subprocess
import time

import pytest

import results
from conftest import BUILD, MPI_ENVIRONMENT, ROOT, assert_clean_failure, write_small_config

CONFIGS = ROOT / "configs"


@pytest.fixture
def study(tmp_path):
    """A study of emulation alone whose every input is a copy."""
    shutil.copytree(CONFIGS / "accelerators", tmp_path / "accelerators")
    shutil.copy(CONFIGS / "models/alexnet.onnx", tmp_path / "model.onnx")
    data = (CONFIGS / "data/fashion_mnist.toml").read_text()
    folder = "/usr/share/datasets/fashion-mnist"
    assert f'"{folder}/' in data
    for file in os.listdir(folder):
        if f'"{folder}/{file}"' in data:
            shutil.copy(f"{folder}/{file}", tmp_path)
    (tmp_path / "data.toml").write_text(data.replace(f'"{folder}/', '"'))
    config = tmp_path / "study.toml"
    config.write_text("""data = "data.toml"
[[models]]
name = "AlexNet"
onnx = "model.onnx"
[calibration]
images = 16
[search]
terms = [2]
[emulation]
images = 1
accelerators = ["accelerators/bitcluster.toml", "accelerators/stripes.toml"]
""")
    return config


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def other_weights(path):
    """Another network of the same layers: a byte in the middle is in some weight."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


CHANGES = {
    "accelerator": ("accelerators/stripes.toml", lambda path: change(path, "columns = 8", "columns = 4")),
    "technology": ("accelerators/technology/45nm.toml", lambda path: change(path, "[energy]", "[energy]  # edited")),
    "model": ("model.onnx", other_weights),
    "data": ("data.toml", lambda path: change(path, "mean = [0.2860]", "mean = [0.2861]")),
    "images": ("train-images-idx3-ubyte.gz", lambda path: path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1))),
    "config": ("study.toml", lambda path: change(path, "images = 16", "images = 17")),
}


def test_complete_results_are_made_again_when_an_input_changes(program, study):
    output = study.parent / "out.h5"
    arguments = ("emulate", study, "-o", output, "--resume")
    assert program(*arguments).returncode == 0
    before = results.load(output)
    assert set(before.provenance["inputs"]["kind"]) == set(CHANGES)
    again = program(*arguments)
    assert again.returncode == 0 and "complete already" in again.stderr
    for kind, (name, edit) in CHANGES.items():
        kept = (study.parent / name).read_bytes()
        edit(study.parent / name)
        process = program(*arguments)
        assert process.returncode == 0, process.stderr
        assert f"{name}' has changed" in process.stderr and "complete already" not in process.stderr
        inputs, found = results.load(output).provenance["inputs"], before.provenance["inputs"]
        assert list(inputs["kind"][inputs["checksum"] != found["checksum"]]) == [kind]
        if kind == "accelerator":
            cycles = [file["emulation"].groupby("accelerator")["cycles"].sum() for file in (before, results.load(output))]
            assert cycles[1]["Stripes"] > cycles[0]["Stripes"] and cycles[1]["BitCluster"] == cycles[0]["BitCluster"]
        (study.parent / name).write_bytes(kept)
        assert program(*arguments).returncode == 0
        assert "complete already" in program(*arguments).stderr


def test_other_nodes_need_not_see_models_and_images(study):
    """A second rank, for which another file system lies over the model and the images, gets them from the root."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        pytest.skip("no mount namespaces here")
    for folder, names in (("models", ["model.onnx"]), ("images", [path.name for path in study.parent.glob("*.gz")])):
        (study.parent / folder).mkdir()
        for name in names:
            (study.parent / name).rename(study.parent / folder / name)
    change(study, 'onnx = "model.onnx"', 'onnx = "models/model.onnx"')
    data = study.parent / "data.toml"
    data.write_text(data.read_text().replace('"t10k', '"images/t10k').replace('"train-', '"images/train-'))
    program, output = str(BUILD / "bitcluster"), study.parent / "out.h5"
    hidden = "mount -t tmpfs none models && mount -t tmpfs none images && exec \"$@\""
    command = [program, "emulate", str(study), "-o", str(output)]
    process = subprocess.run(["mpirun", "-np", "1", *command, ":", "-np", "1", "unshare", "-m", "bash", "-c", hidden, "-", *command],
                             cwd=study.parent, env={**os.environ, **MPI_ENVIRONMENT}, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    inputs = results.load(output).provenance["inputs"]
    assert set(inputs["kind"]) == set(CHANGES) and (inputs["bytes"] > 0).all()


@pytest.mark.parametrize("ranks", [1, 3])
def test_checksums_do_not_depend_on_who_reads(program, study, ranks):
    output = study.parent / "out.h5"
    assert program("emulate", study, "-o", output, ranks=ranks).returncode == 0
    inputs = results.load(output).provenance["inputs"]
    assert list(inputs["bytes"]) == [os.stat(path).st_size for path in inputs["path"]]
    if tool := shutil.which("xxhsum"):
        for path, checksum in zip(inputs["path"], inputs["checksum"]):
            assert subprocess.run([tool, "-H128", path], capture_output=True, text=True).stdout.split()[0] == checksum
    assert len(set(inputs["checksum"])) == len(inputs) and all(len(text) == 32 for text in inputs["checksum"])


def test_parts_of_different_inputs_are_not_merged(program, study):
    text = study.read_text()
    study.write_text(text.replace("[calibration]", '[[models]]\nname = "Other"\nonnx = "model.onnx"\n[calibration]'))
    parts = [study.parent / f"{name}.h5" for name in ("AlexNet", "Other")]
    assert program("emulate", study, "--model", "AlexNet", "-o", parts[0]).returncode == 0
    change(study.parent / "data.toml", "mean = [0.2860]", "mean = [0.2861]")
    assert program("emulate", study, "--model", "Other", "-o", parts[1]).returncode == 0
    merged = study.parent / "merged.h5"
    assert_clean_failure(program("table", *parts, "-o", merged), merged, "cannot merge", "data.toml' changed between them")


def test_an_input_that_changes_under_way_is_an_error(study):
    config = write_small_config(study.parent / "small.toml", images=2000)
    accelerator = study.parent / "accelerators/laconic.toml"
    config.write_text(config.read_text().replace(f"{ROOT}/configs/accelerators/laconic.toml", str(accelerator)))
    output = study.parent / "out.h5"
    process = subprocess.Popen([BUILD / "bitcluster", "run", config, "-o", output], stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True, env={**os.environ, **MPI_ENVIRONMENT})
    journal = output.with_name("out.h5.journal")
    while not journal.exists() and process.poll() is None:
        time.sleep(0.01)
    change(accelerator, "columns = 64", "columns = 32")
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0 and not output.exists(), errors
    assert "laconic.toml'" in errors and "changed or replaced while the command ran" in errors
    assert "--resume" in errors and journal.exists()


def test_files_of_all_commands_have_inputs_and_tables(program, study):
    model, data, output = study.parent / "model.onnx", study.parent / "data.toml", study.parent / "out.h5"
    process = program("evaluate", "--model", model, "--data", data, "--images", 100, "-o", output)
    assert process.returncode == 0, process.stderr
    assert list(results.load(output).provenance["inputs"]["kind"]) == ["model", "data"] + ["images"] * 4
    printed = program("table", output).stdout
    row = results.load(output)["evaluations"].iloc[0]
    assert f"{100 * row['top1']:.2f}" in printed and "integer" in printed
    assert program("table", output, "--format", "csv").stdout.startswith("model,assignment,weights,")
    assert program("evaluate", "--model", model, "--data", data, "--images", 100, "--weights", "float", "-o", output).returncode == 0
    assert list(results.load(output).provenance["inputs"]["kind"]) == ["model", "data"] + ["images"] * 2
    inspected = program("inspect", model, "-o", output)
    assert inspected.returncode == 0, inspected.stderr
    assert list(results.load(output).provenance["inputs"]["kind"]) == ["model"]
    assert program("table", output).stdout.strip() in inspected.stdout
    assert program("table", output, "--format", "markdown").stdout.count("\n|") > 8


def test_weights_beside_the_model_are_inputs(program, study):
    onnx = pytest.importorskip("onnx")
    model, output = study.parent / "model.onnx", study.parent / "out.h5"
    onnx.save_model(onnx.load(model), str(model), save_as_external_data=True, location="model.data", size_threshold=0)
    arguments = ("emulate", study, "-o", output, "--resume")
    process = program(*arguments)
    assert process.returncode == 0, process.stderr
    inputs = results.load(output).provenance["inputs"]
    assert list(inputs["path"][inputs["kind"] == "weights"]) == [str(study.parent / "model.data")]
    assert "complete already" in program(*arguments).stderr
    other_weights(study.parent / "model.data")
    assert "model.data' has changed" in program(*arguments).stderr
    before = (study.parent / "model.data").read_bytes()
    process = program("inspect", model, "-o", study.parent / "model.data")
    assert process.returncode != 0 and (study.parent / "model.data").read_bytes() == before


def configured_version(source):
    """What the program would call itself if it were built from this folder now."""
    output = source.parent / "version.cpp"
    subprocess.run(["cmake", f"-DSOURCE_DIR={source}", "-DVERSION=1", f"-DOUTPUT={output}", "-P",
                    ROOT / "harness/program/version.cmake"], check=True)
    return output.read_text().split('git_commit = "')[1].split('"')[0]


def test_two_uncommitted_states_are_two_programs(tmp_path):
    source = tmp_path / "source"
    for folder in ("host", "cuda", "harness"):
        (source / folder).mkdir(parents=True)
    (source / "CMakeLists.txt").write_text("project(x)\n")
    (source / "host/a.cpp").write_text("int a = 1;\n")
    names = [configured_version(source)]  # no repository
    (source / "host/a.cpp").write_text("int a = 2;\n")
    names.append(configured_version(source))
    assert names[1].startswith("unknown-")
    git = ["git", "-C", source, "-c", "user.name=x", "-c", "user.email=x@y"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "one"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout[:12]
    names.append(configured_version(source))
    assert names[2] == head
    (source / "README.md").write_text("not of the program\n")
    assert configured_version(source) == head
    (source / "host/a.cpp").write_text("int a = 3;\n")
    names.append(configured_version(source))
    (source / "host/a.cpp").write_text("int a = 4;\n")
    names.append(configured_version(source))
    (source / "host/a.cpp").write_text("int a = 2;\n")
    (source / "host/untracked.cpp").write_text("int b;\n")
    names.append(configured_version(source))
    assert all(name.startswith(f"{head}-dirty-") for name in names[3:])
    assert len(set(names)) == len(names)
