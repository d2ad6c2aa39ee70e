// A LangGraph agent: one line more than without lumnid.
import { StateGraph, MessagesAnnotation } from '@langchain/langgraph';
import { FakeListChatModel } from '@langchain/core/utils/testing';
import { LumniCallbackHandler } from 'lumni/langchain';

const model = new FakeListChatModel({ responses: ['It is on its way.'] });
const graph = new StateGraph(MessagesAnnotation)
	.addNode('answer', async (state, config) => ({
		messages: [await model.invoke(state.messages, config)],
	}))
	.addEdge('__start__', 'answer').addEdge('answer', '__end__')
	.compile({ name: 'support' });

await graph.invoke({ messages: [{ role: 'user', content: 'My order?' }] }, {
	callbacks: [new LumniCallbackHandler()],
	configurable: { thread_id: 'chat-7' },
});
