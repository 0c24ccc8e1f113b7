#!/usr/bin/env bash
# dist.sh [COMMIT]: the source of a commit (HEAD unless told otherwise) as dist/pm-VERSION.zip, the form that PGXN
# takes, after its versions have been compared and its META.json has been checked against the specification's schema. The
# last line names the zip.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../test/harness/setup.sh"
cd "$PM_ROOT"

commit=${1:-HEAD}
missing=()
command -v git >/dev/null || missing+=(git)
python3 -c 'import jsonschema' 2>/dev/null || missing+=(python3-jsonschema)
[ ${#missing[@]} -eq 0 ] || pm_install_packages "${missing[@]}"

pm_file() { git -c safe.directory='*' show "$commit:$1"; }
version=$(pm_file pm.control | sed -n "s/^default_version *= *'\(.*\)'/\1/p")
zip=dist/pm-$version.zip

perl packaging/versions.pl "$commit"
pm_file META.json | python3 -c '
import json, sys
import jsonschema

meta = json.load(sys.stdin)
schema = json.load(open("packaging/pgxn-meta.schema.json"))
checker = jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker())
faults = sorted(checker.iter_errors(meta), key=lambda e: list(map(str, e.path)))
for fault in faults:
    print("META.json: %s: %s" % ("/".join(map(str, fault.path)) or "the whole", fault.message), file=sys.stderr)
sys.exit(1 if faults else 0)
' || pm_die "META.json is not fit for PGXN"
pm_say "META.json conforms to the PGXN Meta Spec 1.0.0"

mkdir -p dist
rm -f "$zip"
git -c safe.directory='*' archive --format=zip --prefix="pm-$version/" -o "$zip" "$commit"
pm_say "$zip"
