// setup.js - the panel that tells how a client is connected: what to copy into its configuration.
import { copyButton, el } from './dom.js';
import { MODERN } from './modern.js';

const META = 'io.modelcontextprotocol/';

export function showSetup(root, endpoint, name) {
  const config = (value) => JSON.stringify({ mcpServers: { [name]: value } }, null, 2);
  const request = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list',
    params: { _meta: { [`${META}protocolVersion`]: MODERN, [`${META}clientCapabilities`]: {} } } });
  const part = (title, label, text) => [el('h3', {}, title), el('div', { class: 'copy' },
    el('pre', { tabindex: '0', 'aria-label': label }, text), copyButton('Copy', () => text))];

  root.replaceChildren(el('div', { class: 'work' },
    ...part('The endpoint, for a client of any revision', 'URL of the endpoint', endpoint),
    ...part('Configuration of a client', "JSON for a client's configuration", config({ type: 'http', url: endpoint })),
    ...part('A client that knows only HTTP+SSE (2024-11-05)', 'JSON for a client of the old transport',
      config({ type: 'sse', url: `${endpoint}/sse` })),
    ...part('With curl', 'A curl command', `curl ${endpoint} -H 'Content-Type: application/json' -H 'MCP-Protocol-Version: ${MODERN}' ` +
      `-H 'Mcp-Method: tools/list' -d '${request}'`)));
}
