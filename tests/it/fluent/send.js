// The clients of Fluentd for Node, as they are published.
//   node send.js NAME MODE ACK ADDRESS RUN COUNT
// NAME: fluent-logger or fluent-org; ADDRESS: a path, or a port.
'use strict';

const [name, mode, ack, address, run, count] = process.argv.slice(2);
const port = /^\d+$/.test(address) ? Number(address) : undefined;
const n = Number(count);

function record(i) {
  return { runId: run, type: i === n - 1 ? 'run_end' : 'step', n: i };
}

async function old() {
  const { FluentClient, EventTime } = (() => {
    const m = require('fluent-logger');
    return { FluentClient: m.createFluentSender, EventTime: m.EventTime };
  })();
  const client = FluentClient('app', {
    ...(port ? { host: '127.0.0.1', port } : { path: address }),
    timeout: 20, reconnectInterval: 100, eventMode: mode,
    requireAckResponse: ack === 'ack', ackResponseTimeout: 20000,
    sendQueueIntervalMillis: 1, flushInterval: 10,
  });
  client.on('error', (e) => { console.error(e); process.exit(1); });
  const done = [];
  for (let i = 0; i < n; i++) {
    done.push(new Promise((resolve, reject) => client.emit('agent', record(i),
      EventTime.fromTimestamp(1795435200000 + i),
      (e) => (e ? reject(e) : resolve()))));
  }
  await Promise.all(done);
  await new Promise((resolve) => client.end(null, null, resolve));
}

async function fresh() {
  const { FluentClient, EventTime } = require('@fluent-org/logger');
  const client = new FluentClient('app', {
    eventMode: mode,
    socket: port ? { host: '127.0.0.1', port } : { path: address },
    ...(ack === 'ack' ? { ack: { ackTimeout: 20000 } } : {}),
  });
  const done = [];
  for (let i = 0; i < n; i++) {
    done.push(client.emit('agent', record(i),
      EventTime.fromTimestamp(1795435200000 + i)));
  }
  await client.flush();
  await Promise.all(done);
  await client.disconnect();
}

(name === 'fluent-logger' ? old() : fresh())
  .then(() => process.exit(0), (e) => { console.error(e); process.exit(1); });
