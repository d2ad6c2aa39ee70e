import * as lumni from 'lumni';

await lumni.run('run_8842', async (run) => {
	run.toolCall({ name: 'issue_refund', status: 'failed',
	    error: '502 Bad Gateway' });
	run.modelOutput({ text: 'Your refund has been processed.' });
});
