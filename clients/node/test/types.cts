import lumni = require('lumni');
import lc = require('lumni/langchain');
lumni.run('x').end();
export const h = new lc.LumniCallbackHandler();
