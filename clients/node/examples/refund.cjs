// The same by hand, and with require().
const lumni = require('lumni');

const run = lumni.run('run_8843');
run.toolCall({ name: 'issue_refund', args: { order: 'A-1009' },
	error: '502 Bad Gateway', durationMs: 812.4 });
run.modelOutput({ text: 'Your refund has been processed.' });
run.end({ status: 'ok' });
