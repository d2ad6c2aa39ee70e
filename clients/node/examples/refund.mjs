// An agent that says itself what it does.
import * as lumni from 'lumni';

const refund = lumni.tool('issue_refund', async ({ order }) => {
	throw new Error('502 Bad Gateway for ' + order);
});

await lumni.run('run_8842', { name: 'support' }, async (run) => {
	await refund({ order: 'A-1009' }).catch(() => {});
	run.modelOutput({ text: 'Your refund has been processed.' });
});
