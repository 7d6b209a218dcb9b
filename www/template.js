// template.js - URI templates (RFC 6570): which variables one has, and what becomes of it.

const EXPRESSION = /\{([+#./;?&]?)([^{}]*)\}/g;

const variablesIn = (list) => list.split(',').map((each) => each.replace(/(\*|:\d+)$/, '').trim()).filter(Boolean);

export function variablesOf(template) {
  return [...new Set([...template.matchAll(EXPRESSION)].flatMap(([, , list]) => variablesIn(list)))];
}

export function expand(template, values) {
  return template.replace(EXPRESSION, (all, operator, list) => {
    const given = variablesIn(list).filter((name) => values[name] !== undefined && values[name] !== '');
    const encode = operator === '+' || operator === '#' ? (text) => encodeURI(text) : encodeURIComponent;
    const isNamed = operator === '?' || operator === '&' || operator === ';';
    const [first, between] = { '': ['', ','], '+': ['', ','], '#': ['#', ','], '.': ['.', '.'], '/': ['/', '/'], ';': [';', ';'],
      '?': ['?', '&'], '&': ['&', '&'] }[operator];

    return given.length === 0 ? '' : first + given.map((name) => isNamed ? `${name}=${encode(values[name])}` : encode(values[name])).join(between);
  });
}
