#!/bin/sh
set -e
curl -sS http://127.0.0.1:8842/v1/ingest/events \
    -H 'content-type: application/json' \
    -d '{"runId": "run_8842", "events": [{"type": "model_output",
         "text": "Your refund has been processed."}, {"type": "run_end"}]}'
