#!/usr/bin/env bash
# Makes this clone ready to run: system libraries, a software Vulkan where no GPU renders, `.venv`, locked packages.
# Idempotent, and instantaneous once done. For Debian 12, Ubuntu 22.04 and 24.04. Every launch program calls it.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
venv="$root/.venv"
stamp="$venv/.set-up"
wanted=$({ cat requirements.lock launch/setup.sh; echo "$root"; } | sha256sum | cut -d' ' -f1)

ready() { [[ -x $venv/bin/python && -f $stamp && $(<"$stamp") == "$wanted" ]]; }
say() { printf '\033[1mset-up:\033[0m %s\n' "$*" >&2; }
fail() { printf '\033[1;31mset-up:\033[0m %s\n' "$*" >&2; exit 1; }

ready && exit 0
exec 9<"$root/launch/setup.sh"
if ! flock -n 9; then
  say "another set-up of this clone is running; waiting for it."
  flock 9
  ready && exit 0
fi
say "first run in this clone (or the lock changed); about 7 GB in .venv, a few minutes."

# --- System packages ---------------------------------------------------------------------------------------------------

# Ask the loader, not the package names: those differ between the distributions.
declare -A package_of=(
  [libusb-1.0.so.0]=libusb-1.0-0 [libudev.so.1]=libudev1 [libvulkan.so.1]=libvulkan1 [libEGL.so.1]=libegl1
  [libGL.so.1]=libgl1 [libglib-2.0.so.0]=libglib2.0-0 [libX11.so.6]=libx11-6 [libXext.so.6]=libxext6
  [libxcb.so.1]=libxcb1 [libSM.so.6]=libsm6 [libICE.so.6]=libice6 [libgomp.so.1]=libgomp1
  [libquadmath.so.0]=libquadmath0
)
distribution=$(. /etc/os-release && echo "${VERSION_CODENAME:-unknown}")

missing_packages() {
  local libraries soname
  libraries=$(/sbin/ldconfig -p)
  for soname in "${!package_of[@]}"; do
    [[ $libraries == *"$soname "* ]] || echo "${package_of[$soname]}"
  done
  compgen -G '/usr/share/glvnd/egl_vendor.d/*.json' >/dev/null || echo libegl-mesa0
  python3 -c 'import venv, ensurepip' 2>/dev/null || echo python3-venv
}

vulkan_usable() { python3 sim_training/vulkan.py >/dev/null 2>&1; }

# The commands root has to run, one per line; nothing when nothing is missing.
commands_for_root() {
  local packages options="" source="" mirror
  packages=$(missing_packages | sort | tr '\n' ' ')
  if ! vulkan_usable; then
    case $distribution in
      bookworm)  # Debian 12 has Mesa 22.3; software Vulkan for SAPIEN needs 24.3. Its backports come from the same mirror.
        mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' | awk '$1 == "bookworm" { print $2; exit }')
        [[ -n $mirror ]] || fail "no apt source for bookworm found; add one, then run ./launch/setup.sh again."
        source="Types: deb\nURIs: $mirror\nSuites: bookworm-backports\nComponents: main\n"
        source+="Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        options="-t bookworm-backports"
        packages+="mesa-vulkan-drivers libegl-mesa0 libgl1-mesa-dri libgbm1 " ;;
      jammy) ;;  # Its Mesa 23.2 is too old; see the self-check.
      *) packages+="mesa-vulkan-drivers " ;;
    esac
  fi
  [[ -n $packages ]] || return 0
  [[ -z $source ]] || echo "printf '$source' > /etc/apt/sources.list.d/panda-jumpstart-backports.sources"
  echo "apt-get update"
  echo "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $options ${packages% }"
}

commands=$(commands_for_root)
if [[ -n $commands ]]; then
  command -v apt-get >/dev/null || fail "needs apt; on another distribution install: $(missing_packages | tr '\n' ' ')"
  say "installing system packages:"$'\n'"$commands"
  if [[ $EUID == 0 ]]; then
    bash -euo pipefail -c "$commands" >&2
  elif sudo -n true 2>/dev/null; then
    sudo bash -euo pipefail -c "$commands" >&2
  else
    printf '\nRoot is needed once. Run this, then start again:\n\nsudo bash -e <<"EOF"\n%s\nEOF\n\n' "$commands" >&2
    exit 1
  fi
fi

# --- Python ------------------------------------------------------------------------------------------------------------

fits() { "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; }

# Where pip has been told of a mirror, uv uses it too. The lock names no index.
if [[ -z ${UV_DEFAULT_INDEX:-} ]]; then
  mirror=${PIP_INDEX_URL:-$(python3 -m pip config get global.index-url 2>/dev/null || true)}
  [[ -z $mirror ]] || export UV_DEFAULT_INDEX=$mirror
fi
export UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-300}

install_uv() {  # $1: python of a virtual environment; the version and hashes are the lock's
  awk '/^uv==/ { on = 1 } on { print } on && !/\\$/ { exit }' requirements.lock >"$temporary/uv.txt"
  "$1" -m pip install -q --disable-pip-version-check --require-hashes -r "$temporary/uv.txt" >&2
}

temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
rm -f "$stamp"
if ! { [[ -x $venv/bin/python ]] && fits "$venv/bin/python" && "$venv/bin/python" -m uv --version >/dev/null 2>&1; }; then
  python=""
  for candidate in python3.11 python3.12 python3; do
    if command -v "$candidate" >/dev/null && fits "$candidate"; then python=$candidate; break; fi
  done
  if [[ -n $python ]]; then
    "$python" -m venv --clear "$venv"
    install_uv "$venv/bin/python"
  else
    say "no Python 3.11 or 3.12 on this machine: uv brings one."
    python3 -m venv "$temporary/bootstrap"
    install_uv "$temporary/bootstrap/bin/python"
    "$temporary/bootstrap/bin/uv" venv --clear --seed --python 3.11 "$venv" >&2 ||
      fail "Python 3.11 could not be downloaded; install python3.11 or python3.12 with its venv package, then start again."
    install_uv "$venv/bin/python"
  fi
fi
say "installing the locked Python packages."
"$venv/bin/uv" pip sync --python "$venv/bin/python" --require-hashes requirements.lock >&2
echo "$root" >"$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/panda_jumpstart.pth"

# --- Self-check --------------------------------------------------------------------------------------------------------

say "self-check."
MUJOCO_GL=egl YOLO_OFFLINE=1 YOLO_CONFIG_DIR="$venv/settings" "$venv/bin/python" - >&2 <<'EOF' || fail "self-check failed."
import importlib, sys, warnings

warnings.filterwarnings("ignore")
failed = []
for module in (
    "torch", "mani_skill", "sapien", "franky", "franky_sim.mujoco_simulator", "pyrealsense2", "cv2", "ultralytics",
    "onnxruntime", "openvino", "pinocchio",
):
    try:
        importlib.import_module(module)
    except Exception as error:
        failed.append(f"import {module}: {error}")
try:
    import mujoco

    mujoco.GLContext(64, 64).free()
except Exception as error:
    failed.append(f"off-screen rendering through EGL: {error}. Install libegl1 and a driver (libegl-mesa0).")
print("\n".join(failed) or "  packages and EGL rendering: good")
sys.exit(bool(failed))
EOF
if ! devices=$("$venv/bin/python" sim_training/vulkan.py 2>&1); then
  [[ $distribution == jammy ]] || fail "$devices"
  say "$devices Ubuntu 22.04's own Mesa is 23.2, so without a GPU driver that offers Vulkan, training in simulation" \
    "does not run here (a newer Mesa exists in third-party archives such as ppa:kisak/kisak-mesa). The mock cell does."
else
  printf '  Vulkan: %s\n' "$devices" >&2
fi
echo "$wanted" >"$stamp"
say "ready."
