/** Hands the step events of an AI agent to lumnid. */

export interface ClientOptions {
  /**
   * Where lumnid is: `unix:///run/lumnid/lumnid.sock`, `udp://127.0.0.1:8842`,
   * `udp://[::1]:8842`. Default: `LUMNID_ADDRESS`, else the first of these.
   */
  address?: string;
  /** Do nothing at all. Default: whether `LUMNID_DISABLED` is `1`. */
  disabled?: boolean;
  /** Bytes that may wait while lumnid is absent or slow. Default 4 MiB. */
  queueBytes?: number;
  /** Bytes one message may have. Default 1 MiB; with UDP at most 65507. */
  messageBytes?: number;
  /** How long the end of the process may be held up. Default 250 ms. */
  exitMs?: number;
}

/** events = sent + queued + dropped. */
export interface Stats {
  /** Events given to the client. */
  events: number;
  /** Events handed to the socket. */
  sent: number;
  dropped: number;
  queued: number;
  queuedBytes: number;
  /** Those of `dropped` that lumnid has been told of. */
  reported: number;
}

export type RunId = string | number | bigint;
export type Status = 'ok' | 'failed' | 'cancelled';

/** Fields of an event; any others are welcome. */
export interface Fields {
  name?: string;
  status?: Status | (string & {});
  /** Anything thrown; its text and class are recorded. */
  error?: unknown;
  durationMs?: number;
  /** A Date, a Timestamp, or RFC 3339 text. Default: now. */
  at?: Date | Timestamp | string;
  stepId?: string;
  parentId?: string;
  tags?: string[];
  metadata?: Record<string, unknown>;
  [field: string]: unknown;
}

export interface RunStart extends Fields {
  input?: unknown;
  threadId?: string;
}

export interface RunEnd extends Fields {
  output?: unknown;
}

export interface ToolCall extends Fields {
  args?: unknown;
  result?: unknown;
  toolCallId?: string;
}

export interface CalledTool {
  id?: string;
  name?: string;
  args?: unknown;
}

export interface ModelCall extends Fields {
  model?: string;
  provider?: string;
  messages?: { role?: string; text?: unknown; toolCalls?: CalledTool[] }[];
  prompt?: string;
}

export interface ModelOutput extends Fields {
  text?: string;
  toolCalls?: CalledTool[];
  usage?: {
    inputTokens?: number;
    outputTokens?: number;
    totalTokens?: number;
  };
  finishReason?: string;
  firstTokenMs?: number;
}

export interface Retrieval extends Fields {
  query?: string;
  count?: number;
  documents?: { text?: string; metadata?: unknown; id?: string }[];
}

export interface AgentStep extends Fields {
  kind?: string;
  node?: string;
  step?: number;
}

export interface SendOptions {
  /** The run is over: lumnid seals it and sends it at once. */
  end?: boolean;
}

export interface FlushOptions {
  /**
   * Resolve with true only when lumnid has said that all of it is safe on its
   * disk. Not by UDP.
   */
  durable?: boolean;
}

/** One agent's connection to lumnid. No method waits, throws or logs. */
export class Client {
  constructor(options?: ClientOptions);
  readonly address: string;
  readonly disabled: boolean;
  /** Hand over one event. Returns false if it was dropped. */
  send(runId: RunId, event: object, options?: SendOptions): boolean;
  /** Several events of a run as one message. */
  sendAll(runId: RunId, events: object[], options?: SendOptions): boolean;
  change(fields: object): boolean;
  policy(fields: object): boolean;
  /**
   * Resolves with true when all is handed over; with false after `ms`, or as
   * soon as it is known that lumnid is not there. Never rejects.
   */
  flush(ms?: number, options?: FlushOptions): Promise<boolean>;
  /** Flush, then let go of the socket. */
  close(ms?: number): Promise<boolean>;
  stats(): Stats;
}

/** A handle on one run. Methods that record a step return its stepId. */
export class Run {
  constructor(client: () => Client, id: RunId);
  readonly id: RunId;
  start(fields?: RunStart): this;
  modelCall(fields?: ModelCall): string;
  modelOutput(fields?: ModelOutput): string;
  toolCall(fields?: ToolCall): string;
  retrieval(fields?: Retrieval): string;
  agentStep(fields?: AgentStep): string;
  custom(name: string, data?: unknown): string;
  event(type: string, fields?: Fields): string;
  end(fields?: RunEnd): void;
  /** Call fn with this as the current run. */
  in<T>(fn: (run: Run) => T): T;
  /** As lumni.tool(), in this run wherever it is called. */
  tool<F extends (...args: any[]) => any>(name: string, fn: F): F;
  /** As lumni.step(), in this run wherever it is called. */
  step<F extends (...args: any[]) => any>(name: string, fn: F): F;
}

/** A time finer than a Date. */
export class Timestamp {
  constructor(seconds: number, nanos?: number);
  readonly seconds: number;
  readonly nanos: number;
  static fromMs(ms: number): Timestamp;
}

/** A msgpack extension value, type -128..127. */
export class Ext {
  constructor(type: number, data: Uint8Array);
  readonly type: number;
  readonly data: Uint8Array;
}

/** Set the options of the default client; before its first use. */
export function configure(options?: ClientOptions): Client;
export function defaultClient(): Client;

/** A handle on a run; nothing is sent by it alone. */
export function run(id: RunId): Run;
/** Start the run, call fn in it, end it with fn; returns what fn does. */
export function run<T>(id: RunId, fn: (run: Run) => T): T;
export function run<T>(id: RunId, fields: RunStart, fn: (run: Run) => T): T;

/** The run that this code is running in. */
export function current(): Run | undefined;

/** fn, recorded as a tool_call whenever it is called within a run. */
export function tool<F extends (...args: any[]) => any>(name: string, fn: F): F;
/** fn, recorded as an agent_step that contains what happens in it. */
export function step<F extends (...args: any[]) => any>(name: string, fn: F): F;

export function send(runId: RunId, event: object, options?: SendOptions): boolean;
export function change(fields: object): boolean;
export function policy(fields: object): boolean;
export function flush(ms?: number, options?: FlushOptions): Promise<boolean>;
export function close(ms?: number): Promise<boolean>;
export function stats(): Stats;
export const version: string;
