// The echo tool of bench/run in the official TypeScript SDK, version 2, for clients of 2026-07-28: its own way to serve
// them, on plain node:http. Says "READY URL" once it listens.
import { createServer } from 'node:http';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { z } from 'zod';

// Made once: made for each request it costs 6 % of the calls a second.
const inputSchema = z.object({ text: z.string() });
const handler = toNodeHandler(createMcpHandler(() => {
	const server = new McpServer({ name: 'sdk-v2', version: '1.0.0' });
	server.registerTool('echo', { description: 'Answers with the text that it is given', inputSchema },
		async ({ text }) => ({ content: [{ type: 'text', text }] }));
	return server;
}));
const http = createServer(handler);
http.listen(0, '127.0.0.1', () => console.log(`READY http://127.0.0.1:${http.address().port}/mcp`));
