export * from './index.js';
import * as lumni from './index.js';
export default lumni;
