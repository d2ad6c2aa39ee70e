"""Runs side by side; each task has its own."""
import asyncio

import lumni


@lumni.tool
async def search(query):
    await asyncio.sleep(0.01)
    return [query.upper()]


async def answer(number):
    async with lumni.run("run_%d" % number, name="answer") as run:
        with run.step("look up"):
            await asyncio.gather(search("a"), search("b"))
        run.model_output("Done.")


async def main():
    await asyncio.gather(answer(1), answer(2))


asyncio.run(main())
