# Sourced by harness/reproduce and tests/run: installs what is missing and builds. Debian 12.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

build_packages=(build-essential cmake ninja-build git ca-certificates libopenmpi-dev openmpi-bin libhdf5-dev
  hdf5-tools zlib1g-dev libxxhash-dev libonnx-dev libprotobuf-dev protobuf-compiler libcli11-dev libtomlplusplus-dev libfmt-dev
  libgtest-dev libbenchmark-dev dataset-fashion-mnist)
python_packages=(python3 python3-numpy python3-h5py python3-pandas python3-matplotlib python3-pil)
test_packages=(python3-pytest python3-pytest-xdist python3-torch python3-torchvision python3-onnx libonnx-testdata universal-ctags slurm-wlm slurmctld
  slurmd slurm-client slurm-wlm-basic-plugins munge)
fuzz_packages=(clang libclang-rt-dev libomp-dev)

say() { printf '== %s\n' "$*" >&2; }

# install PACKAGE...: installs those that are missing, as root. Elsewhere than on Debian it only says what is needed.
install() {
  local missing=() package as_root=()
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "this is not Debian: nothing is installed; what is needed, by its Debian packages: $*"
    return
  fi
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
      say "these packages are missing: ${missing[*]}; install them as root (apt-get install ...), then run this again"
      exit 1
    }
    as_root=(sudo)
  fi
  say "installing ${#missing[@]} packages and what they need: ${missing[*]}"
  local log
  log=$(mktemp)
  export DEBIAN_FRONTEND=noninteractive
  { "${as_root[@]}" apt-get update -q && "${as_root[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}"; } \
    >"$log" 2>&1 &
  local installer=$! started=$SECONDS
  while kill -0 "$installer" 2>/dev/null; do
    sleep 1
    [ $(((SECONDS - started) % 10)) -eq 0 ] &&
      say "$((SECONDS - started)) s: $(grep -cE '^Get:' "$log") fetched, $(grep -cE '^Unpacking ' "$log") unpacked, $(grep -cE '^Setting up ' "$log") set up"
  done
  wait "$installer" || {
    tail -20 "$log" >&2
    say "apt-get failed (its last lines are above); mend that, then run this again"
    exit 1
  }
  rm -f "$log"
}

# build TARGET...: configures once and builds; prints compiler output only when something fails. BITCLUSTER_PRESET: one of
# CMakePresets.json (release; ci: warnings are errors), build_folder: its folder.
build_folder="$root/build"
build() {
  local log="$build_folder/configure.log"
  mkdir -p "$build_folder"
  if [ ! -f "$build_folder/build.ninja" ]; then
    say "configuring"
    (cd "$root" && cmake --preset "${BITCLUSTER_PRESET:-release}") >"$log" 2>&1 || {
      tail -30 "$log" >&2
      say "CMake failed (log: $log)"
      exit 1
    }
  fi
  NINJA_STATUS='[%f/%t, %e s] ' ninja -C "$build_folder" "$@" >&2
}
