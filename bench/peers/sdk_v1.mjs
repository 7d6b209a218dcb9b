// The echo tool of bench/run in the official TypeScript SDK, version 1, with sessions: what its example
// jsonResponseStreamableHttp does, without Express, which would only cost time. Says "READY URL" once it listens.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { z } from 'zod';

const sessions = new Map();

async function newSession() {
	const server = new McpServer({ name: 'sdk-v1', version: '1.0.0' });
	server.registerTool('echo', { description: 'Answers with the text that it is given', inputSchema: { text: z.string() } },
		async ({ text }) => ({ content: [{ type: 'text', text }] }));
	const transport = new StreamableHTTPServerTransport({
		sessionIdGenerator: randomUUID,
		enableJsonResponse: true,
		onsessioninitialized: (id) => sessions.set(id, transport),
		onsessionclosed: (id) => sessions.delete(id),
	});
	await server.connect(transport);
	return transport;
}

const http = createServer(async (request, response) => {
	const id = request.headers['mcp-session-id'];
	const transport = id ? sessions.get(id) : await newSession();
	if (transport)
		await transport.handleRequest(request, response);
	else
		response.writeHead(404).end();
});
http.listen(0, '127.0.0.1', () => console.log(`READY http://127.0.0.1:${http.address().port}/mcp`));
