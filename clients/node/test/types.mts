/* Checked with tsc, not run: the client among the frameworks' own types. */
import lumni, { run, Client } from 'lumni';
import { LumniCallbackHandler } from 'lumni/langchain';
import { LumniTracingProcessor } from 'lumni/openai-agents';
import { FakeListChatModel } from '@langchain/core/utils/testing';
import { StateGraph, MessagesAnnotation } from '@langchain/langgraph';
import { addTraceProcessor } from '@openai/agents-core';

run('x').toolCall({ name: 'a', args: { x: 1n } });
const result: Promise<number> = run('y', async (y) => {
	y.modelOutput({ text: 't' });
	return 1;
});
const traced: (n: number) => Promise<string> =
    lumni.tool('t', async (n: number) => String(n));
const client = new Client({ queueBytes: 5 });
const callbacks = [new LumniCallbackHandler({ client })];
await new FakeListChatModel({ responses: [] }).invoke('a', { callbacks });
await new StateGraph(MessagesAnnotation).addNode('a', (state) => state)
    .addEdge('__start__', 'a').compile()
    .invoke({ messages: [] }, { callbacks });
addTraceProcessor(new LumniTracingProcessor());
export { result, traced };
