// complete.js - values that the server suggests while somebody types (completion/complete).
import { el, newId } from './dom.js';

const AFTER_MS = 200; // without a key

// Gives control a list of suggestions. ref, as in the protocol; others(): the arguments that are known already.
export function completeWith(client, control, ref, name, others) {
  const list = el('datalist', { id: newId('suggestions') });
  let timer;

  control.setAttribute('list', list.id);
  const ask = async () => {
    const value = control.value;
    try {
      const { completion } = await client.request('completion/complete', { ref, argument: { name, value },
        ...(client.revision >= '2025-06-18' && { context: { arguments: others() } }) });
      if (control.value === value)
        list.replaceChildren(...(completion?.values ?? []).slice(0, 100).map((each) => el('option', { value: String(each) })));
    } catch {
      list.replaceChildren(); // no suggestions; why is in the timeline
    }
  };
  control.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(ask, AFTER_MS);
  });
  control.addEventListener('focus', ask, { once: true });
  return list;
}
