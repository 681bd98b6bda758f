#!/bin/sh
# Installs neurocohort from this folder, without a network. Usage: sh install.sh FOLDER [PYTHON]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${1:?usage: sh install.sh FOLDER [PYTHON]}
python=${2:-python3}
wanted=@PYTHON@
found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ "$found" != "$wanted" ]; then
    echo "error: the packages are for Python $wanted, and $python is $found; give another: sh install.sh $target python$wanted" >&2
    exit 2
fi
echo "Checking the files ..."
(cd "$here" && sha256sum --quiet -c SHA256SUMS)
mkdir -p "$target"
tar -xzf "$here/neurocohort.tar.gz" -C "$target" --strip-components 1
if [ -d "$here/resources" ]; then cp -R "$here/resources" "$target/"; fi
cd "$target"
echo "Installing the packages ..."
"$python" -m venv --without-pip .venv # also where Python has no pip
.venv/bin/python "$(echo "$here"/wheels/pip-*.whl)/pip" install --quiet --no-index --find-links "$here/wheels" pip setuptools wheel
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-index --find-links "$here/wheels" -r envs/requirements.txt
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation --editable .
touch .venv/ready # make finds nothing to install
echo "Installed in $(pwd). To try it: cd $(pwd) && make demo"
