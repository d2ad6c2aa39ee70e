/* Checked with tsc, not run: what require() gives, and all declarations. */
import lumni = require('lumni');
import langchain = require('lumni/langchain');
import agents = require('lumni/openai-agents');

const run: lumni.Run = lumni.run(7n);
const step: string = run.toolCall({ name: 'a', args: { n: 1n }, own: true });
run.end({ status: 'ok', error: new Error('x') });
const sum: (a: number, b: number) => number =
    lumni.tool('sum', (a: number, b: number) => a + b);
const client = new lumni.Client({ address: '/a', queueBytes: 1 });
const done: Promise<boolean> = client.flush(5);
const stats: lumni.Stats = client.stats();
// @ts-expect-error an option that is none
new lumni.Client({ adress: '/a' });
// @ts-expect-error an error is told by any value, a run id is not
lumni.run({});

export const handler = new langchain.LumniCallbackHandler({ client });
export const processor = new agents.LumniTracingProcessor({ client });
export { step, sum, done, stats };
