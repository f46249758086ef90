#!/usr/bin/env bash
# Sends a running service what its document allows and what it forbids, operation by operation and in sequences, as a
# user with all roles and as nobody: no answer may be a failure of the service or differ from what the document says.
# The examples are the same in every run. `./deploy.sh test` provides TOOLS, the folder with the Python tools.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

examples=${1:?how many examples of each operation?}
rules=$PWD/tests/schemathesis

# shellcheck source=tests/service.sh
source tests/service.sh

schemathesis() {
    (cd "$folder" && PYTHONPATH=$rules PYTHONDONTWRITEBYTECODE=1 "${TOOLS:?}/bin/schemathesis" \
        --config-file "$rules/schemathesis.toml" run "$url/openapi.json" --max-examples "$examples" "$@")
}

# Lets the hooks say where requests come from.
export EVENTLOGGER_SERVER__TRUSTED_PROXIES=127.0.0.1
./deploy.sh up >"$folder/up" 2>&1 || fail "up: $(cat "$folder/up")"
export ADMIN_USER=admin
credentials=$ADMIN_USER:$(./deploy.sh password)

schemathesis --auth "$credentials"
# Whoever locks himself out is refused everything that follows, as documented, and tests nothing.
curl --silent --show-error --fail --user "$credentials" --output "$folder/status" "$url/status" ||
    fail "the tests took away their own user's access; see $rules/hooks.py"
# One request after the other is no different for nobody.
schemathesis --phases examples,coverage,fuzzing --warnings off
