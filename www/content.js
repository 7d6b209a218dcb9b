// content.js - results as people read them. Pictures and sounds are shown from data: URLs, of types that can't hold a script;
// all else that is not text is named with its size.
import { el, quoted, showJson, showText, shorten } from './dom.js';

const PICTURES = ['image/png', 'image/jpeg', 'image/gif', 'image/webp'];
const SOUNDS = ['audio/wav', 'audio/mpeg', 'audio/ogg', 'audio/webm', 'audio/flac', 'audio/mp4'];
const BASE64 = /^[A-Za-z0-9+/\s]*={0,2}\s*$/;
const BLOCKS_MAX = 200;

const size = (chars) => chars < 1024 ? `${chars} bytes` : `${(chars / 1024).toFixed(1)} KiB`;

// A block of content. read(uri): reads a resource that is only named.
function showBlock(block, read) {
  switch (block?.type) {
  case 'text':
    return showText(String(block.text));
  case 'image':
  case 'audio':
    return showData(block.mimeType, block.data);
  case 'resource':
    return showContents(block.resource ?? {});
  case 'resource_link':
    return el('p', {}, quoted(block.title ?? block.name ?? 'A resource'), ' ', el('code', {}, quoted(block.uri)), ' ',
      el('button', { type: 'button', class: 'small', onclick: () => read(String(block.uri)) }, 'Read it'));
  default:
    return showJson(block);
  }
}

function showData(type, data) {
  const kind = String(type).toLowerCase();
  const isData = typeof data === 'string' && BASE64.test(data);

  if (isData && PICTURES.includes(kind))
    return el('img', { src: `data:${kind};base64,${data}`, alt: `A picture (${kind})` });
  if (isData && SOUNDS.includes(kind))
    return el('audio', { src: `data:${kind};base64,${data}`, controls: true });
  return el('p', { class: 'note' }, `${shorten(type ?? 'Data', 100)}, ${size(Math.floor(String(data ?? '').length * 3 / 4))}: not shown.`);
}

// What a resource holds.
function showContents(contents) {
  const about = el('p', { class: 'note' }, el('code', {}, quoted(contents.uri ?? '')), ' ', shorten(contents.mimeType ?? '', 100));

  if (typeof contents.blob === 'string')
    return el('div', {}, about, showData(contents.mimeType, contents.blob));
  const text = String(contents.text ?? '');
  if (/\bjson$/.test(contents.mimeType))
    try {
      return el('div', {}, about, showJson(JSON.parse(text)));
    } catch {
      // It only says that it is JSON.
    }
  return el('div', {}, about, showText(text));
}

const list = (value) => Array.isArray(value) ? value.slice(0, BLOCKS_MAX) : [];

export function showToolResult(result, read) {
  return [
    ...list(result.content).map((block) => showBlock(block, read)),
    ...(result.structuredContent === undefined ? [] : [el('h4', {}, 'Structured content'), showJson(result.structuredContent)]),
  ];
}

export const showResource = (result) => list(result.contents).map(showContents);

export const showPrompt = (result, read) => list(result.messages).map(({ role, content }) =>
  el('div', { class: 'said' }, el('h4', {}, shorten(role, 40)),
    ...(Array.isArray(content) ? content : [content]).map((block) => showBlock(block, read))));

