# Sourced by scripts/demo and scripts/test: a Python, .venv, system packages, the install.
# Knows nothing of what is run afterwards. Run again it does nothing that is already done.

say() { printf '%s\n' "$*" >&2; }
stop() { say "$1"; say "  -> $2"; exit 1; }

# A Python that this project and its wheels can run on, printed; on Linux 3.11 comes first.
find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3.14 python3; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
    # macOS' own is too old, and on a new Mac it is a stub that opens an installer on the screen.
    [ "$(uname -s)" = Darwin ] && [ "$(command -v "$candidate")" = /usr/bin/python3 ] && continue
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then
      command -v "$candidate"
      return 0
    fi
  done
  return 1
}

# Runs a command as root where that needs no password; fails otherwise.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then sudo -n "$@"
  else return 1
  fi
}

# Which of the given Debian packages are missing, printed.
missing_debian() {
  local package
  for package in "$@"; do
    dpkg-query -W -f='${Status}\n' "$package" 2>/dev/null | grep -q 'ok installed' || printf '%s ' "$package"
  done
}

# Installs Debian packages, or fails when it may not (or this is no Debian).
install_debian() {
  command -v apt-get >/dev/null 2>&1 || return 1
  local missing
  missing=$(missing_debian "$@")
  [ -n "$missing" ] || return 0
  say "Installing $missing(apt-get)"
  # shellcheck disable=SC2086 # a list of package names
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null 2>&1 ||
    { as_root apt-get update -q >/dev/null 2>&1 &&
      as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null; }
}

# .venv with this project and some of its extras ("demo", "bench,demo"); installs only when pyproject.toml has changed.
make_venv() {
  local extra=$1 python wanted stamp
  if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    python=$(find_python) || stop "No Python 3.11 to 3.14 was found (onnxruntime is not there yet for newer ones)." \
      "macOS: 3.14 from https://www.python.org/downloads/macos/, or brew install python@3.12, or uv python install 3.12
     Debian: apt-get install python3.11 python3.11-venv   or set PYTHON=/path/to/python"
    say "Making .venv with $python"
    if ! "$python" -m venv --clear .venv >/dev/null 2>&1; then
      install_debian python3-venv && "$python" -m venv --clear .venv || stop "$python cannot make a virtual environment." \
        "Debian: sudo apt-get install python3-venv"
    fi
  fi
  wanted=$(cksum <pyproject.toml)
  for stamp in ".venv/.installed-$extra" .venv/.installed-dev; do
    case $extra:$stamp in bench*:*-dev | *,*:*-dev) continue ;; esac # dev alone holds test and demo
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return 0
  done
  say "Installing voice-daemon[$extra] and what it needs into .venv (some minutes the first time)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[$extra]" ||
    stop "pip could not install voice-daemon[$extra] with $(.venv/bin/python --version)." \
      "read its last lines above; another Python: rm -r .venv, then PYTHON=python3.11 $0"
  # macOS hides what is in a folder with a dot now and then, and Python skips a hidden .pth file.
  if [ "$(uname -s)" = Darwin ]; then chflags -R nohidden .venv; fi
  # Linux and Python 3.12 or newer: docs/install.md has the reason.
  .venv/bin/python -c 'from importlib.util import find_spec; raise SystemExit(find_spec("openwakeword") is None)' ||
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps openwakeword==0.5.1 ||
    stop "pip could not install the wake words' models." "read its last lines above"
  printf '%s\n' "$wanted" >".venv/.installed-$extra"
}
