// events.js - event streams (text/event-stream) from the bytes of an answer. EventSource can't be used: it only GETs, sends
// no headers of ours, and hides ids and reconnecting, which are what one wants to see.

const EVENT_CHARS_MAX = 16 << 20; // of an event, or of a line: what has no end does not fill the memory

// The events of body, as they arrive: {id, event, data, retry}. data is undefined without a data field: such an event tells
// only its id, or how long to wait before coming back.
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  let isHalf = false; // text ends with a CR
  let event = {};
  let size = 0;

  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done)
        return;
      const hasLine = isHalf || /[\r\n]/.test(value);
      isHalf = value.endsWith('\r');
      text += value;
      if (!hasLine && text.length + size <= EVENT_CHARS_MAX)
        continue; // a long line in many pieces is gone over once
      const lines = text.split(/\r\n|\n|\r(?!$)/); // a CR at the end may be half of a CRLF
      text = lines.pop();
      for (const line of lines) {
        size += line.length;
        if (line === '') {
          if (Object.keys(event).length > 0)
            yield event;
          event = {};
          size = 0;
        } else {
          addField(event, line);
        }
      }
      if (text.length + size > EVENT_CHARS_MAX)
        throw new Error('an event is too large for this console');
    }
  } finally {
    reader.cancel().catch(() => {}); // it may have failed already
  }
}

function addField(event, line) {
  const colon = line.indexOf(':');
  const name = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');

  if (name === 'data')
    event.data = event.data === undefined ? value : `${event.data}\n${value}`;
  else if (name === 'retry' && /^\d+$/.test(value))
    event.retry = Number(value);
  else if (name === 'event' || (name === 'id' && !value.includes('\0')))
    event[name] = value;
}
