import type { Client } from './index.js';

export interface HandlerOptions {
  /** Default: the default client. */
  client?: Client;
  /** Longer strings are cut; 0 for no limit. Default 16384 characters. */
  maxString?: number;
  /** Steps that may be open at once, over all runs. Default 65536. */
  maxOpenSteps?: number;
  /**
   * Whether LangChain waits for the handler, which itself never waits. Default
   * true; with false, callbacks may come after invoke() has returned.
   */
  awaitHandlers?: boolean;
}

/**
 * Tells lumnid of the runs of LangChain and LangGraph:
 * `graph.invoke(input, { callbacks: [new LumniCallbackHandler()] })`.
 * It is a BaseCallbackHandler of @langchain/core by its shape.
 */
export class LumniCallbackHandler {
  constructor(options?: HandlerOptions);
  name: string;
  awaitHandlers: boolean;
  raiseError: boolean;
  ignoreLLM: boolean;
  ignoreChain: boolean;
  ignoreAgent: boolean;
  ignoreRetriever: boolean;
  ignoreCustomEvent: boolean;
  lc_serializable: boolean;
  get lc_namespace(): [string, string, string];
  get lc_id(): string[];
  get lc_secrets(): undefined;
  get lc_attributes(): undefined;
  get lc_aliases(): undefined;
  get lc_serializable_keys(): undefined;
  lc_kwargs: Record<string, any>;
  readonly size: number;
  copy(): this;
  toJSON(): any;
  toJSONNotImplemented(): any;
  handleChainStart(chain: any, inputs: any, runId: string, ...rest: any[]): void;
  handleChainEnd(output: any, runId: string, ...rest: any[]): void;
  handleChainError(err: any, runId: string, ...rest: any[]): void;
  handleChatModelStart(llm: any, messages: any, runId: string, ...rest: any[]): void;
  handleLLMStart(llm: any, prompts: string[], runId: string, ...rest: any[]): void;
  handleLLMNewToken(token: string, index: any, runId: string, ...rest: any[]): void;
  handleLLMEnd(output: any, runId: string, ...rest: any[]): void;
  handleLLMError(err: any, runId: string, ...rest: any[]): void;
  handleToolStart(tool: any, input: string, runId: string, ...rest: any[]): void;
  handleToolEnd(output: any, runId: string, ...rest: any[]): void;
  handleToolError(err: any, runId: string, ...rest: any[]): void;
  handleRetrieverStart(retriever: any, query: string, runId: string, ...rest: any[]): void;
  handleRetrieverEnd(documents: any, runId: string, ...rest: any[]): void;
  handleRetrieverError(err: any, runId: string, ...rest: any[]): void;
  handleCustomEvent(name: string, data: any, runId: string, ...rest: any[]): void;
}
