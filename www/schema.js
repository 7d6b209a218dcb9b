// schema.js - what a form has to know of a JSON Schema. Not a validator: the server is one, and says what is wrong.
//
// Schemas are hostile: $refs in circles and allOfs of allOfs end with a budget of steps, and a pattern is only shown, for
// matching it could take for ever.

const STEPS_MAX = 2000; // of a form
const HOPS_MAX = 32;    // from one schema into the next

const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

export class Schemas {
  #steps = 0;

  constructor(root) {
    this.root = root;
  }

  // A schema with its $ref followed and its allOf put together. What can't be resolved allows anything.
  resolve(schema, hops = 0) {
    if (!isObject(schema) || hops > HOPS_MAX || ++this.#steps > STEPS_MAX)
      return {};
    const { $ref, allOf, ...plain } = schema;
    let all = plain;
    if (typeof $ref === 'string')
      all = merge(all, this.resolve(this.#pointed($ref), hops + 1));
    for (const part of Array.isArray(allOf) ? allOf : [])
      all = merge(all, this.resolve(part, hops + 1));
    return all;
  }

  #pointed(ref) {
    let at = this.root;

    if (ref !== '#' && !ref.startsWith('#/'))
      return undefined;
    for (const part of ref.split('/').slice(1).map((each) => each.replaceAll('~1', '/').replaceAll('~0', '~')))
      at = at !== null && typeof at === 'object' && Object.hasOwn(at, part) ? at[part] : undefined;
    return at;
  }
}

const merge = (first, second) => ({
  ...second, ...first,
  ...((first.properties || second.properties) && { properties: { ...second.properties, ...first.properties } }),
  ...((first.required || second.required) && { required: [...names(first.required), ...names(second.required)] }),
});

const names = (value) => Array.isArray(value) ? value : [];
export const isRequired = (schema, name) => names(schema.required).includes(name);
export const propertiesOf = (schema) => isObject(schema.properties) ? Object.entries(schema.properties) : [];

// The values to choose from, [{value, title}], or null.
export function choicesOf(schema) {
  const titled = [schema.oneOf, schema.anyOf].find((list) => Array.isArray(list) && list.length > 0
    && list.every((each) => isObject(each) && 'const' in each));

  if ('const' in schema)
    return [{ value: schema.const, title: schema.title }];
  if (titled)
    return titled.map((each) => ({ value: each.const, title: each.title }));
  if (!Array.isArray(schema.enum) || schema.enum.length === 0)
    return null;
  return schema.enum.map((value, i) => ({ value, title: Array.isArray(schema.enumNames) ? schema.enumNames[i] : undefined }));
}

// The schemas of which one is to be chosen, or null. Those that are only conditions (required ...) are the server's affair.
export function variantsOf(schema, schemas) {
  const list = [schema.oneOf, schema.anyOf].find(Array.isArray);
  const resolved = (list ?? []).map((each) => schemas.resolve(each)).filter(({ type }) => type !== 'null');

  if (resolved.length === 0 || !resolved.every((each) => typeOf(each) || choicesOf(each)))
    return null;
  const { oneOf, anyOf, ...common } = schema;
  return resolved.map((each) => merge(each, common));
}

export function typeOf(schema) {
  const type = Array.isArray(schema.type) ? schema.type.find((each) => each !== 'null') : schema.type;

  return typeof type === 'string' ? type : isObject(schema.properties) ? 'object' : schema.items ? 'array' : undefined;
}

// What a field accepts, in words.
export function limitsOf(schema) {
  const { minimum: min, maximum: max, minLength, maxLength, minItems, maxItems, pattern, format } = schema;
  const range = (from, to, unit) => from === undefined && to === undefined ? ''
    : from === undefined ? `up to ${to}${unit}` : to === undefined ? `from ${from}${unit} on`
      : from === to ? `${from}${unit}` : `${from} to ${to}${unit}`;

  return [typeOf(schema) === 'string' ? '' : typeOf(schema), format, range(min, max, ''),
    range(minLength, maxLength, ' characters'), range(minItems, maxItems, ' items'),
    schema.exclusiveMinimum !== undefined && `more than ${schema.exclusiveMinimum}`,
    schema.exclusiveMaximum !== undefined && `less than ${schema.exclusiveMaximum}`,
    pattern && `matches ${pattern}`].filter(Boolean).join(', ');
}
