#!/usr/bin/env bash
# A receipt in the hands of others: the program in docs/INTEGRITY.md, in a language and with a library that the service
# does not use, opens what the running service answers. TOOLS=… is the folder with Python's packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=tests/service.sh
source tests/service.sh

# answer PATH [CURL ARGUMENTS...]
answer() { curl --silent --show-error --fail-with-body --user "admin:$password" "${@:2}" "$url$1"; }

# member FILE NAME: of a JSON object.
member() { "$TOOLS/bin/python" -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$@"; }

./deploy.sh up >"$folder/up" 2>&1 || fail "up: $(cat "$folder/up")"
password=$(./deploy.sh password)
# Root's commands run as the service's user, who has to read these.
kept=$folder/kept
install -d -m 0755 "$kept"
# shellcheck disable=SC2016
sed -n '/^```python$/,/^```$/{/^```/!p;}' docs/INTEGRITY.md >"$kept/check.py"

# With exactly these blanks.
printf '%s' '{"n": 1e400, "s": "\u0000",  "account_id": 1346}' >"$kept/payload.json"
printf '{"event_type":"t","user_identity":"Ж","event_data":%s}' "$(<"$kept/payload.json")" >"$kept/event.json"
for _ in {1..20}; do
    answer /events --header 'Content-Type: application/json' --data-binary "@$kept/event.json" >"$kept/answer.json"
done
"$TOOLS/bin/python" -c 'import json, sys; json.dump(json.load(open(sys.argv[1]))["receipt"], open(sys.argv[2], "w"))' \
    "$kept/answer.json" "$kept/receipt.json"
answer /integrity/key >"$kept/key.json"
vkey=$(member "$kept/key.json" vkey)
member "$kept/key.json" policy >"$kept/policy"

expect "the document's own program opens a receipt" 'everything holds' \
    "$("$TOOLS/bin/python" "$kept/check.py" "$kept/receipt.json" "$kept/payload.json" "$vkey")"
printf ' ' >>"$kept/payload.json"
if "$TOOLS/bin/python" "$kept/check.py" "$kept/receipt.json" "$kept/payload.json" "$vkey" 2>/dev/null; then
    fail "one byte more is noticed"
fi
expect "so does ours" '*right, by the key that the policy pins*' \
    "$(./deploy.sh cli verify "$kept/receipt.json" --event "$kept/event.json" --policy "$kept/policy")"
./deploy.sh down >/dev/null
expect "with the service gone" '*right, by the key that the policy pins*' \
    "$(./deploy.sh cli verify "$kept/receipt.json" --event "$kept/event.json" --key "$vkey")"
