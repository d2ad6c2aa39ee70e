import type { Client } from './index.js';

export interface ProcessorOptions {
  /** Default: the default client. */
  client?: Client;
  /** Longer strings are cut; 0 for no limit. Default 16384 characters. */
  maxString?: number;
  /** Spans that may be open at once, over all traces. Default 65536. */
  maxOpenSteps?: number;
}

/**
 * Tells lumnid of the traces of @openai/agents-core:
 * `addTraceProcessor(new LumniTracingProcessor())`.
 */
export class LumniTracingProcessor {
  constructor(options?: ProcessorOptions);
  readonly size: number;
  onTraceStart(trace: any): Promise<void>;
  onTraceEnd(trace: any): Promise<void>;
  onSpanStart(span: any): Promise<void>;
  onSpanEnd(span: any): Promise<void>;
  shutdown(timeout?: number): Promise<void>;
  forceFlush(): Promise<void>;
}
