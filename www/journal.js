// journal.js - what went over the wire, on every stream, in its order; bounded, the oldest goes first.
//
// An entry: {n, at, direction: 'out' | 'in', stream: name, kind, what, detail, eventId, resumed, text}
//   kind     request, answer, error, notification, log, or http: a status, a stream that begins, ends, is resumed
//   what     the method or what happened, in a few words; detail: headers, or the method that an answer belongs to
//   text     the JSON as it was sent or came; it is parsed when somebody looks

const ENTRIES_MAX = 2000;
const CHARS_MAX = 8 << 20;

export class Journal {
  entries = [];
  forgotten = 0;
  onAdd = () => {};
  onForget = () => {}; // (entry)
  #chars = 0;
  #next = 1;
  #asked = { out: new Map(), in: new Map() }; // id: method, of requests whose answer has not been seen

  add(entry) {
    const kept = { ...entry, n: this.#next++, at: new Date() };

    this.entries.push(kept);
    this.#chars += kept.text?.length ?? 0;
    this.onAdd(kept);
    while (this.entries.length > ENTRIES_MAX || (this.#chars > CHARS_MAX && this.entries.length > 1))
      this.#forget();
  }

  // A message, described by what it is.
  addMessage(direction, stream, message, text, more) {
    this.add({ direction, stream, text, ...describe(message), ...this.#asker(direction, message ?? {}), ...more });
  }

  // Remembers a request; to an answer, gives the method it was asked by.
  #asker(direction, { id, method }) {
    const asked = this.#asked[method === undefined && direction === 'in' || method !== undefined && direction === 'out' ? 'out' : 'in'];
    const detail = asked.get(id);

    if (method === undefined) {
      asked.delete(id);
      return detail && { detail };
    }
    if (id !== undefined)
      asked.set(id, method);
    if (asked.size > ENTRIES_MAX)
      asked.clear();
    return {};
  }

  clear() {
    while (this.entries.length > 0)
      this.#forget();
    this.forgotten = 0;
  }

  #forget() {
    const oldest = this.entries.shift();
    this.#chars -= oldest.text?.length ?? 0;
    this.forgotten++;
    this.onForget(oldest);
  }
}

function describe(message) {
  if (Array.isArray(message))
    return { kind: 'answer', what: `batch of ${message.length}` };
  const { id, method, error } = message ?? {};
  if (method === 'notifications/message')
    return { kind: 'log', what: `${message.params?.level ?? 'log'}: ${plain(message.params?.data)}` };
  if (method !== undefined)
    return { kind: id === undefined ? 'notification' : 'request', what: String(method), detail: nameOf(message) };
  return error ? { kind: 'error', what: `error ${error.code}: ${error.message}` }
    : { kind: 'answer', what: 'result' };
}

const plain = (data) => typeof data === 'string' ? data : JSON.stringify(data) ?? '';

// What a message is about, where it says so.
function nameOf({ params }) {
  const name = params?.name ?? params?.uri ?? params?.taskId ?? params?.message;
  return typeof name === 'string' ? name : '';
}
