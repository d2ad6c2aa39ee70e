/* The same module for `import`: there is one client, whoever asks. */
import lumni from './index.js';

export const {
	Client, Ext, Run, Timestamp, change, close, configure, current,
	defaultClient, flush, policy, run, send, stats, step, tool, version,
} = lumni;
export default lumni;
