import langchain from './langchain.js';

export const { LumniCallbackHandler } = langchain;
export default langchain;
