#!/usr/bin/env bash
# Write the two lock files from pyproject.toml. Needs pip-tools; run it after a dependency changed.
set -euo pipefail
cd "$(dirname "$0")/.."
options=(--quiet --strip-extras --no-emit-index-url --no-emit-find-links --no-header --no-annotate --allow-unsafe)
# ib_async 2.1 refuses the time zone data of 2026: one lock serves both, and zoneinfo prefers the machine's own anyway.
echo 'tzdata<2026' >requirements/constraints.txt
pip-compile "${options[@]}" --constraint requirements/constraints.txt --output-file requirements/runtime.txt pyproject.toml
pip-compile "${options[@]}" --extra dev --constraint requirements/runtime.txt --output-file requirements/dev.txt pyproject.toml
# A local version (2.13.0+cpu) names one machine's build; plain pip takes the public one.
sed -i 's/^torch==\([0-9.]*\)+.*/torch==\1/' requirements/runtime.txt requirements/dev.txt
sed -i "/^# The following/d" requirements/runtime.txt requirements/dev.txt
rm requirements/constraints.txt
