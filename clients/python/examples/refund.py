"""A run with a tool that fails. The failure is the tool's; the run goes on."""
import lumni


@lumni.tool
def issue_refund(order):
    raise RuntimeError("502 Bad Gateway")


with lumni.run("run_8842") as run:
    try:
        issue_refund("A-1009")
    except RuntimeError:
        pass
    run.model_output("Your refund has been processed.")
