#!/usr/bin/env bash
# section.sh NAME: runs one section against the server that measure.sh has started, in a process of its
# own, so that a failure does not end the others.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/lib.sh"
source "$here/$1.sh"
"run_$1"
database_gone
