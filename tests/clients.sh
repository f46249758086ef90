#!/usr/bin/env bash
# Generates the client of one language from the document of a running service, compiles it as strictly as the language
# allows, and runs tests/clients/LANGUAGE against that service. Generated code is below target/ and never checked in.
# `./deploy.sh test` provides TOOLS, the folder with the language's tools.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

language=${1:?which language?}
# Below the tools' folder, where TypeScript finds their packages.
work=${TOOLS:?}/client
programs=$PWD/tests/clients
document=$work/openapi.json

# shellcheck source=tests/service.sh
source tests/service.sh

python() {
    PATH=$TOOLS/bin:$PATH
    "$TOOLS/bin/openapi-spec-validator" "$document"
    "$TOOLS/bin/openapi-python-client" generate --path "$document" --output-path "$work/event-logger-client" \
        --overwrite --fail-on-warning --config "$programs/python/generator.yaml"
    export MYPYPATH=$work/event-logger-client PYTHONPATH=$work/event-logger-client
    "$TOOLS/bin/mypy" --strict --cache-dir "$work/mypy" "$programs/python/client.py"
    "$TOOLS/bin/python" "$programs/python/client.py"
}

typescript() {
    cp "$programs/typescript/"* "$work"
    "$TOOLS/node_modules/.bin/openapi-typescript" "$document" --output "$work/eventlogger.d.ts"
    "$TOOLS/node_modules/.bin/tsc" --project "$work"
    node "$work/out/client.js"
}

rust() {
    cargo fmt --check --manifest-path "$programs/rust/Cargo.toml"
    OPENAPI_DOCUMENT=$document cargo run --locked --quiet --manifest-path "$programs/rust/Cargo.toml" --target-dir "$work"
}

mkdir -p "$work"
./deploy.sh up >"$folder/up" 2>&1 || fail "up: $(cat "$folder/up")"
curl --silent --show-error --fail --output "$document.new" "$url/openapi.json"
# Left alone if it is the same, so that nothing is generated and compiled again.
if cmp --silent "$document.new" "$document"; then rm "$document.new"; else mv "$document.new" "$document"; fi
export SERVICE_URL=$url ADMIN_PASSWORD READER_TOKEN
ADMIN_PASSWORD=$(./deploy.sh password)
READER_TOKEN=$(./deploy.sh cli token create --owner admin --role reader | tail -n 1)
"$language"
