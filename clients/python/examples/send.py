import lumni

with lumni.run("run_8842") as run:
    run.tool_call("issue_refund", status="failed", error="502 Bad Gateway")
    run.model_output("Your refund has been processed.")
