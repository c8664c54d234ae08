#!/usr/bin/env bash
# The first campaign, by curl alone: from "is it up" to the results as CSV.
#
#     examples/first_campaign.sh [model.onnx]
#
# Wants an orchestrator and a worker that can do cpu.onnx (`make up` starts both). FLEETMARK_HOST names another orchestrator,
# FLEETMARK_TOKEN carries its token. Without a model it takes the SqueezeNet that `make demo` leaves in recipes/models.
set -euo pipefail

HOST="${FLEETMARK_HOST:-http://localhost:5000}"
MODEL="${1:-recipes/models/squeezenet.onnx}"
# A proxy in the environment (curl reads http_proxy) does not lead to this machine.
CURL=(curl --noproxy "localhost,127.0.0.1,::1${NO_PROXY:+,$NO_PROXY}" --silent --show-error --fail-with-body)
[ -z "${FLEETMARK_TOKEN:-}" ] || CURL+=(--header "Authorization: Bearer $FLEETMARK_TOKEN")

# The first value of a key in an answer. (With jq installed: jq -r .key)
value() { grep -o "\"$1\": *\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }

if [ ! -f "$MODEL" ]; then
    echo "There is no model at $MODEL. Name one (examples/first_campaign.sh path/to/model.onnx), or run 'make demo' once." >&2
    exit 2
fi

echo "# Is it up?"
"${CURL[@]}" "$HOST/api/health"
echo

echo "# Enter a device by hand. (Real workers do this by themselves; the same UDID is the same worker.)"
DEVICE=$("${CURL[@]}" "$HOST/api/register" -d '{
    "device_name": "a-device-of-mine",
    "capabilities": ["CPU (CoreML)"],
    "device_info": {"Soc": "M4", "Ram": 16, "DeviceOs": "macOS", "UDID": "first-campaign-example"}
}')
echo "$DEVICE"
DEVICE=$(value worker_id <<< "$DEVICE")
# It does not exist, so it is removed, however this script ends. (Removing a worker takes the role admin.)
remove_device() { "${CURL[@]}" --request DELETE "$HOST/api/workers/$DEVICE" || echo "Remove it: fleetmark workers remove $DEVICE" >&2; }
trap remove_device EXIT

echo "# Who can run a model on its CPU with ONNX Runtime?"
"${CURL[@]}" --get "$HOST/api/workers" --data-urlencode "capability=CPU (ONNX)"
echo

echo "# Upload the model."
SOURCE=$("${CURL[@]}" "$HOST/api/models?name=$(basename "$MODEL")" --data-binary "@$MODEL" | value source)
echo "$SOURCE"

echo "# Submit: two jobs, 50 timed inferences in each of 3 fresh processes."
CAMPAIGN=$("${CURL[@]}" "$HOST/api/campaigns" -d '{
    "model_url": "'"$SOURCE"'",
    "jobs": [
        {"compute_unit": "CPU (ONNX)", "num_inference_runs": 50, "runs_per_job": 3},
        {"compute_unit": "cpu.onnx",   "num_inference_runs": 50, "runs_per_job": 3}
    ]
}' | value campaign_id)
echo "$CAMPAIGN"

echo "# Wait for it."
until [ "$("${CURL[@]}" "$HOST/api/campaigns/$CAMPAIGN?jobs=false" | value status)" != running ]; do sleep 1; done
"${CURL[@]}" "$HOST/api/campaigns/$CAMPAIGN?jobs=false"
echo

echo "# The results."
"${CURL[@]}" "$HOST/api/campaigns/$CAMPAIGN/results" --output "${CAMPAIGN}_results.csv"
cat "${CAMPAIGN}_results.csv"
echo "# They are in ${CAMPAIGN}_results.csv; open it in a spreadsheet. Everything else the API can do: $HOST/docs"
