import agents from './openai-agents.js';

export const { LumniTracingProcessor } = agents;
export default agents;
