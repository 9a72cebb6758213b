# Sourced by scripts/lock, scripts/make-sbom and scripts/audit, after setup.sh: the tools of a release in
# a virtual environment of their own, pinned by hash. Knows nothing of what they are used for.

tools=build/release-tools

# Makes $tools; fails, with pip's complaint on stderr, where it cannot be had.
make_tools() {
  local python wanted
  wanted=$(cksum <requirements/tools.txt)
  [ -f "$tools/.installed" ] && [ "$(cat "$tools/.installed")" = "$wanted" ] && return 0
  python=$(find_python) || return 1
  say "Installing the tools of a release into $tools"
  "$python" -m venv --clear "$tools" &&
    "$tools/bin/python" -m pip install --quiet --disable-pip-version-check --retries 2 --require-hashes \
      -r requirements/tools.txt && printf '%s\n' "$wanted" >"$tools/.installed"
}
