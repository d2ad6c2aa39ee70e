// A stand-in for an agent that uses the Node client; as agent.c.
//
//	agent.mjs ADDRESS runs=N steps=N queue=BYTES flush_ms=N prefix=S
//	    pause_us: between two steps of a run.
//	agent.mjs ADDRESS measure blocks=N steps=N work_us=N
//
// The runs are promises of one event loop, all open at once.
import * as lumni from '../../clients/node/lib/index.mjs';

const opt = { runs: 1, steps: 3, queue: 8 << 20, flush_ms: 10000, blocks: 41,
	work_us: 1000, pause_us: 0, threads: 1, prefix: 'run' };
let measuring = false;

for (const arg of process.argv.slice(3)) {
	const [name, value] = arg.split('=');
	if (name === 'measure')
		measuring = true;
	else
		opt[name] = name === 'prefix' ? value : Number(value);
}

const client = new lumni.Client({ address: process.argv[2],
	queueBytes: opt.queue, messageBytes: Math.min(opt.queue, 1 << 20) });
const none = new lumni.Client({ disabled: true });

const sleep = (ms) => new Promise((done) => ms > 0 ? setTimeout(done, ms) :
	setImmediate(done));

function event(n, last) {
	return { type: n === 0 ? 'run_start' : n === last ? 'run_end' : 'tool_call',
		n, name: 'issue_refund', status: 'failed', error: '502 Bad Gateway',
		args: { order: 'A-1009' }, durationMs: 812.4, stepId: 's2',
		parentId: 's1' };
}

async function agent(index) {
	const run = opt.prefix + '-' + index;
	const last = opt.steps - 1;

	for (let n = 0; n <= last; n++) {
		if (n > 0)
			await sleep(opt.pause_us / 1000);
		client.send(run, event(n, last), { end: n === last });
	}
}

function spin(loops) {
	let total = 0;
	for (let i = 0; i < loops; i++)
		total = (total + i * 7) % 1000003;
	return total;
}

const now = () => performance.now() * 1000;	// us
const cpuNow = () => {
	const used = process.cpuUsage();
	return used.user + used.system;
};

function calibrate() {
	for (let loops = 100000; ; loops *= 2) {
		const begun = now();
		spin(loops);
		const took = now() - begun;
		if (took > 50000)
			return Math.floor(loops * opt.work_us / took);
	}
}

function median(values) {
	return values.sort((a, b) => a - b)[values.length >> 1];
}

async function block(to, loops, calls) {
	const begun = now(), cpu = cpuNow();

	for (let n = 1; n <= opt.steps; n++) {
		spin(loops);
		const wall = now(), used = cpuNow();
		to.send(opt.prefix, event(n, 0));
		calls.cpu.push(cpuNow() - used);
		calls.wall.push(now() - wall);
		await sleep(0);		// as an agent waits for its model
	}
	return { wall: now() - begun, cpu: cpuNow() - cpu };
}

async function measure() {
	const loops = calibrate();
	const cpu = [], wall = [], calls = { cpu: [], wall: [] };

	/* An agent that has run for a while: its code is compiled. */
	for (let i = 0; i < 2000; i++) {
		client.send('warm', event(1, 2));
		if (i % 20 === 0)
			await sleep(0);
	}
	for (let b = 0; b < opt.blocks; b++) {
		const took = [];
		for (let i = 0; i < 2; i++) {
			const on = (b + i) % 2;
			took[on] = await block(on ? client : none, loops,
				on ? calls : { cpu: [], wall: [] });
		}
		cpu.push(took[1].cpu / took[0].cpu);
		wall.push(took[1].wall / took[0].wall);
	}
	return { cpu_ratio: median(cpu), wall_ratio: median(wall),
		call_cpu_us: median(calls.cpu), call_us: median(calls.wall) };
}

async function flush() {
	const end = now() + opt.flush_ms * 1000;

	while (!await client.flush(Math.max(1, (end - now()) / 1000))) {
		if (now() >= end)
			return false;
		await sleep(20);
	}
	return true;
}

const begun = now();
let measured = {};
if (measuring) {
	measured = await measure();
} else {
	const runs = [];
	for (let i = 0; i < opt.runs; i++)
		runs.push(agent(i));
	await Promise.all(runs);
}
const seconds = (now() - begun) / 1e6;
console.log('worked');
let flushed = await flush();
if (flushed) {
	// Where something was dropped, this carries the report.
	client.send('last', { type: 'run_end', status: 'ok' }, { end: true });
	flushed = await flush();
}
console.log(JSON.stringify({ ...client.stats(), seconds, flushed,
	...measured }));
await client.close();
