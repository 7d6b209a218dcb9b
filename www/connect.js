// connect.js - a client for an endpoint, in the era that was asked for or the newest that the server knows.
import { MODERN, ModernClient } from './modern.js';
import { OldSseClient } from './oldsse.js';
import { SessionClient } from './session.js';

export const REVISIONS = [MODERN, '2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05'];

const kindOf = (revision) => ({ [MODERN]: ModernClient, '2024-11-05': OldSseClient })[revision] ?? SessionClient;

// What no older era would cure: no key, a server that fails, or none.
const isFinal = ({ status }) => status === undefined || status === 401 || status === 403 || status >= 500;

// options: those of Client. revision: one of REVISIONS, or "auto".
export async function connect(revision, options) {
  const tried = revision === 'auto' ? [MODERN, '2025-11-25', '2024-11-05'] : [revision];

  for (const each of tried) {
    const client = new (kindOf(each))(options);
    try {
      await client.connect(each);
      return client;
    } catch (e) {
      await client.close().catch(() => {}); // what failed matters, not its end
      if (each === tried.at(-1) || isFinal(e))
        throw e;
    }
  }
  return undefined;
}
