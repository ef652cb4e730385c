"""The house: which wing may read which, that every file and function has a size, and that no name means two things."""

import itertools
import json
import re
import subprocess

import pytest

from conftest import ROOT

# From ground to roof. A wing reads itself and what stands before it.
WINGS = ["host/base", "host/files", "host/model", "host/weights", "host/onnx", "host/inference", "host/cpu", "host/search",
         "host/emulation", "host/data", "host/results", "cuda", "harness/ranks", "harness/journal", "harness/scoring",
         "harness/study", "harness/plan", "harness/program"]
# These build with a compiler, OpenMP and {fmt} alone: `cmake --preset core` (CMakeLists.txt: core_wings)
CORE = ["host/base", "host/model", "host/weights", "host/inference", "host/cpu", "host/search", "host/emulation"]

SOURCES = sorted(path for wing in ("host", "harness", "cuda") for path in (ROOT / wing).rglob("*")
                 if path.suffix in (".cpp", ".hpp", ".cu", ".cuh") and not path.stem.endswith("_stub"))  # instead of others


def wing_of(path):
    name = str(path)
    found = [wing for wing in WINGS if name.startswith(wing + "/")]
    assert len(found) == 1, f"{name} is in no wing: put it into one of {', '.join(WINGS)}"
    return found[0]


def includes(path):
    return re.findall(r'^\s*#include "([^"]+)"', path.read_text(), re.MULTILINE)


def test_there_is_something_to_look_at():
    assert len(SOURCES) > 150 and sum(len(includes(path)) for path in SOURCES) > 400


@pytest.mark.parametrize("wing", WINGS)
def test_no_import_runs_from_a_lower_wing_to_a_higher_one(wing):
    upward = []
    for path in SOURCES:
        source = path.relative_to(ROOT)
        if wing_of(source) != wing:
            continue
        for target in includes(path):
            assert (ROOT / target).is_file(), f"{source} includes {target} otherwise than from the top of the repository"
            if WINGS.index(wing_of(target)) > WINGS.index(wing):
                upward.append(f"{source} -> {target}")
    assert not upward


def test_the_core_reads_nothing_but_itself():
    outside = [f"{path.relative_to(ROOT)} -> {target}" for path in SOURCES
               if wing_of(path.relative_to(ROOT)) in CORE
               for target in includes(path) if wing_of(target) not in CORE]
    assert not outside


def test_the_build_has_the_same_core():
    listed = re.search(r"set\(core_wings ([^)]*)\)", (ROOT / "CMakeLists.txt").read_text()).group(1).split()
    assert ["host/" + wing for wing in listed] == CORE


def test_no_file_is_a_hall():
    most = 500  # lines
    everything = SOURCES + sorted(path for folder in ("tests", "analysis") for path in (ROOT / folder).rglob("*")
                                  if path.suffix in (".cpp", ".hpp", ".h", ".py"))
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in everything}
    assert {name: count for name, count in lines.items() if count > most} == {}


def tags(fields, kinds, paths):
    """What Universal Ctags finds: dictionaries by field."""
    out = subprocess.run(["ctags", "--languages=C++", "--langmap=C++:+.cu.cuh", f"--kinds-C++={kinds}", "--output-format=json",
                          f"--fields={fields}", "-f", "-", *map(str, paths)], capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def test_no_two_types_of_one_name_share_a_namespace():
    """Two definitions of one name in a program are undefined behaviour, of which no compiler need say anything."""
    places = {}
    for tag in tags("+nSs", "scgu", SOURCES):
        scope = tag.get("scope", "")
        if "__anon" in scope or tag["name"].startswith("__anon"):
            continue
        places.setdefault(f"{scope}::{tag['name']}", set()).add(str(tag["path"]))
    assert len(places) > 100
    assert {name: sorted(paths) for name, paths in places.items() if len(paths) > 1} == {}


def test_a_function_above_80_lines_says_why_it_is_better_whole():
    long = []
    for tag in tags("+ne", "f", SOURCES):
        if tag.get("end", 0) - tag["line"] + 1 <= 80:
            continue
        before = open(tag["path"]).read().splitlines()[: tag["line"]]
        above = itertools.dropwhile(lambda line: not line.startswith("///"), before[:-6:-1])  # a template and its bounds
        comment = list(itertools.takewhile(lambda line: line.startswith("///"), [*above, *before[-6:-16:-1]]))
        if not any("better whole" in line.lower() for line in comment):
            long.append(f"{tag['path']}: {tag['name']}, {tag['end'] - tag['line'] + 1} lines")
    assert not long
