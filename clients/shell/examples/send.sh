#!/bin/sh
set -e
lumnictl send --run run_8842 --type tool_call name=issue_refund \
    status=failed error="502 Bad Gateway"
lumnictl send --end --run run_8842 --type model_output \
    text="Your refund has been processed."
